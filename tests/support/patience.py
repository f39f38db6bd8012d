"""The time that a test waits for real sockets, threads and programs."""

PATIENCE = 60.0
"""Seconds: far more than anything takes, also on a machine that is four times slower or busy."""
