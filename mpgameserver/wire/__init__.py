"""Handshake messages, packets and keys as bytes: nothing here has a socket, a thread or a clock."""
