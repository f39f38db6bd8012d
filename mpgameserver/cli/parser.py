"""Shared by all commands: the parser, exit codes, and common options."""

from __future__ import annotations

import argparse
import math
import random
import sys
from typing import Any, NoReturn, TypeAlias

from mpgameserver.cli import argtypes

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_USAGE",
    "CommandParser",
    "Commands",
    "add_command",
    "add_json",
    "add_seed",
    "fail",
    "print_at_once",
    "seed_of",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""The command line makes no sense; what argparse and the shells use."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

Commands: TypeAlias = Any
"""The object to which commands are added: argparse has no public name for its class."""


class CommandParser(argparse.ArgumentParser):
    """A parser that prints its texts as they are, and an error in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **settings,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_command(
    commands: Commands, name: str, help_text: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command, and return the parser of its options."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=help_text, description=description, epilog=epilog
    )
    return command


def add_seed(command: argparse.ArgumentParser, what: str) -> None:
    """Add --seed; `what` ends the sentence of its help, such as "of the link"."""
    command.add_argument(
        "--seed",
        metavar="N",
        type=argtypes.number(int, -math.inf, math.inf),
        help=f"seed {what}, a whole number (default: a new one each time, shown)",
    )


def seed_of(arguments: argparse.Namespace) -> int:
    """The seed that was given, or a new one."""
    return random.randrange(2**32) if arguments.seed is None else arguments.seed


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument(
        "--json",
        action="store_true",
        help="print nothing but one JSON document at the end; its times are in seconds",
    )


def print_at_once(line: str) -> None:
    """Print a line at once, for a program may be reading."""
    print(line, flush=True)


def fail(command: str, reason: str, code: int = EXIT_FAILED) -> int:
    """Say on stderr why a command failed, and return its exit code."""
    print(f"mpgameserver {command}: {reason}", file=sys.stderr)
    return code
