"""The command line. Nothing of the package imports it."""

from mpgameserver.cli.commands import main

__all__ = ["main"]
