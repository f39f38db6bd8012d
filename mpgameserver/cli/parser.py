"""Shared by all commands: the parser, exit codes, and common options."""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
from functools import partial
from typing import Any, NoReturn, TypeAlias

from mpgameserver.cli import argtypes
from mpgameserver.crypto import EllipticCurvePrivateKey, EllipticCurvePublicKey
from mpgameserver.transport.keylog import KEY_LOG_LOGGER

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_USAGE",
    "CommandParser",
    "Commands",
    "add_json",
    "add_key",
    "add_key_log",
    "add_seconds",
    "add_seed",
    "begin_log",
    "fail",
    "print_at_once",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
"""The command line makes no sense; what argparse and the shells use."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"
"""The object to which commands are added."""

Key: TypeAlias = EllipticCurvePrivateKey | EllipticCurvePublicKey

print_at_once: partial[None] = partial(print, flush=True)
"""Print a line at once, for a program may be reading."""


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


def add_key(
    command: argparse.ArgumentParser, kind: type[Key], text: str, name: str = "--key", **more: Any
) -> None:
    """Add an option for a file with a key."""
    command.add_argument(name, metavar="FILE", type=argtypes.key(kind.fromPEM), help=text, **more)


def add_key_log(command: argparse.ArgumentParser) -> None:
    """Add the option --key-log."""
    command.add_argument(
        "--key-log",
        metavar="FILE",
        type=argtypes.new_file,
        help="append the keys of sessions to this file, for Wireshark: whoever reads it reads the "
        "sessions (default: the one that MPGAMESERVER_KEYLOG names, if it is set)",
    )


def add_seconds(command: argparse.ArgumentParser, what: str) -> None:
    """Add --seconds; `what` begins the sentence of its help, such as "time to run"."""
    command.add_argument(
        "--seconds",
        metavar="N",
        type=argtypes.number(float, 0.1, argtypes.MAX_SECONDS),
        default=math.inf,
        help=f"{what}, in seconds (default: until interrupted)",
    )


def add_seed(command: argparse.ArgumentParser, what: str) -> None:
    """Add --seed; `what` ends the sentence of its help, such as "of the link"."""
    command.add_argument(
        "--seed",
        metavar="N",
        type=argtypes.number(int, -math.inf, math.inf),
        default=random.randrange(2**32),
        help=f"seed {what}, a whole number (default: a new one each time, shown)",
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument(
        "--json",
        action="store_true",
        help="print nothing but one JSON document at the end; its times are in seconds",
    )


def begin_log(level: int) -> None:
    """Log to stderr from a level up, and in any case that keys are written to a file."""
    logging.basicConfig(level=level)
    logging.getLogger(KEY_LOG_LOGGER).setLevel(logging.WARNING)


def fail(command: str, reason: str, code: int = EXIT_FAILED) -> int:
    """Say on stderr why a command failed, and return its exit code."""
    print(f"mpgameserver {command}: {reason}", file=sys.stderr)
    return code
