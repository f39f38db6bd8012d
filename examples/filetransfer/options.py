"""Command-line options."""

from __future__ import annotations

import argparse
from pathlib import Path


def key_file(text: str) -> Path:
    """For argparse: the file of a key."""
    path = Path(text)
    if not path.is_file():
        hint = "python -m mpgameserver genkey files.pem"
        raise argparse.ArgumentTypeError(f"there is no {text}; make it with `{hint}`")
    return path
