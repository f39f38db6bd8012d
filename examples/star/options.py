"""The command lines."""

from __future__ import annotations

import argparse
import getpass
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PlayerOptions:
    """The server to play on, and the player's name."""

    server: tuple[str, int]
    key: Path
    """The server's public key."""
    name: str


def key_file(text: str) -> Path:
    """For argparse: the file of a key."""
    path = Path(text)
    if not path.is_file():
        hint = "python -m mpgameserver genkey star.pem"
        raise argparse.ArgumentTypeError(f"there is no {text}; make it with `{hint}`")
    return path


def player_options(program: str, description: str | None) -> PlayerOptions:
    """Read the command line; what makes no sense there ends the program."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--host", default="127.0.0.1", help="of the server (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="of the server (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="star.pem.pub", help="public key (%(default)s)"
    )
    parser.add_argument("--name", default=getpass.getuser(), help="yours (%(default)s)")
    options = parser.parse_args()
    return PlayerOptions((options.host, options.port), options.key, options.name)
