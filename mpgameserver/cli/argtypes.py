"""Types of command-line options for argparse, with errors that say what was expected."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_PORT", "MAX_PORT", "MAX_SECONDS", "address", "key", "new_file", "number"]

DEFAULT_PORT = 1474
"""The port that the examples of the protocol's users have."""
MAX_PORT = 65535
MAX_SECONDS = 86_400
"""A day: anything longer is not a test of a link."""


def number(kind: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """The type of the numbers from `low` to `high`; `kind` is int or float."""
    wanted = "a whole number" if kind is int else "a number"
    if low > -math.inf:
        wanted += f" from {low:,} to {high:,}"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
        return value

    return parse


def key(from_pem: Callable[[bytes], Any]) -> Callable[[str], Any]:
    """The type of a file with a key."""

    def parse(text: str) -> Any:
        try:
            return from_pem(Path(text).read_bytes())
        except OSError as error:
            raise argparse.ArgumentTypeError(f"cannot read {text!r}: {error.strerror}") from error
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"cannot use {text!r}: {error}") from error

    return parse


def new_file(text: str) -> Path:
    """The type of a file that will be written, over what it holds: better refused now than then."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write {text!r}")
    return path


def address(least_port: int) -> Callable[[str], tuple[str, int]]:
    """The type of HOST:PORT with a port of `least_port` or more."""

    def parse(text: str) -> tuple[str, int]:
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise argparse.ArgumentTypeError(
                f"must have an IPv6 address in brackets, as [::1]:{DEFAULT_PORT}, not {text!r}"
            )
        if (
            not host
            or "\0" in host
            or not port.isdecimal()
            or not least_port <= int(port) <= MAX_PORT
        ):
            raise argparse.ArgumentTypeError(
                f"must be HOST:PORT with a port from {least_port} to {MAX_PORT}, not {text!r}"
            )
        return host, int(port)

    return parse
