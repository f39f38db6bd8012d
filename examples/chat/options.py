"""Command-line options."""

from __future__ import annotations

import argparse
from pathlib import Path

from chat.wire import require_name


def key_file(text: str) -> Path:
    """For argparse: the file of a key."""
    path = Path(text)
    if not path.is_file():
        hint = "python -m mpgameserver genkey chat.pem"
        raise argparse.ArgumentTypeError(f"there is no {text}; make it with `{hint}`")
    return path


def name(text: str) -> str:
    """For argparse: a nickname, or a room."""
    try:
        require_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text
