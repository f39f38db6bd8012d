"""Sends files of any size, and goes on where it was when the connection was lost."""
