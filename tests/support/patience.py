"""How long a test waits for what real sockets, threads and programs do."""

PATIENCE = 60.0
"""Seconds: far more than anything takes, also on a machine that is four times slower or busy."""
