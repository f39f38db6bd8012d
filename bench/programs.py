"""Running the programs that measure: a server that says when it is up, and its clients."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Serving", "client", "serving"]

PATIENCE = 180.0
"""Seconds that one client may take."""


class Serving(NamedTuple):
    """A server that is up: where it listens, its public key, and its process."""

    port: int
    key: str
    process: int


@contextlib.contextmanager
def serving(*command: str) -> Iterator[Serving]:
    """A server, which prints its port and its key as JSON when it is up."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        ready = json.loads(server.stdout.readline())
        yield Serving(ready["port"], ready["key"], server.pid)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def client(*command: str) -> dict[str, Any]:
    """Return the result of a client, which it prints as JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
