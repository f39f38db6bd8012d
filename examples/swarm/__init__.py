"""Bots that play on a server, more and more of them, until it is at its limit."""
