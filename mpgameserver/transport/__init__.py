"""Sockets, addresses, waiting and logging, for client and server alike."""
