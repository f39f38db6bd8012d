"""An environment of its own for each package that this one is compared with.

They are made once, below the project's own environment, from PyPI. What cannot be installed is
left out of the comparison, and the table says so by its absence.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["python_with"]

FOLDER = Path(sys.prefix) / "peers"
PEERS = {
    "published": ["mpgameserver==0.2.4"],
    "enet": ["pyenet==1.3.17"],
    "quic": ["aioquic==1.7.2"],
}
INSTALL_LIMIT = 300.0
"""Seconds: an index that does not answer must not hold the benchmark up."""


def python_with(name: str) -> str | None:
    """The interpreter of the environment with a peer; None where it cannot be had."""
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / ".installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", *PEERS[name]]
        try:
            done = subprocess.run(install, timeout=INSTALL_LIMIT, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            print(f"{PEERS[name]} cannot be installed: {done.stderr.strip()[-300:]}")
            return None
        stamp.touch()
    return str(python)
