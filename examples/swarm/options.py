"""Command-line options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path


def key_file(text: str) -> Path:
    """For argparse: the file of a key."""
    path = Path(text)
    if not path.is_file():
        hint = "python -m mpgameserver genkey swarm.pem"
        raise argparse.ArgumentTypeError(f"there is no {text}; make it with `{hint}`")
    return path


def is_here(host: str) -> bool:
    """True for an address of this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def address(text: str) -> tuple[str, int]:
    """For argparse: HOST:PORT."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def number(kind: Callable[[str], float], most: float) -> Callable[[str], float]:
    """For argparse: a number above 0, up to `most`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"must be above 0, up to {most:,}, not {text!r}")
        return value

    return parse
