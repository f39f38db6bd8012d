"""JSON lines and messages, shared by the programs of these tests and the tests that run them.

Needs nothing but the standard library, for the programs run beside the published package.
"""

from __future__ import annotations

import hashlib
import json
import queue
import random
import sys
import threading
from collections.abc import Iterator

RETRY_MODES = (-1, 0, 1)
GAME_MESSAGES = 1000
"""Of each retry mode, from each side."""
FRAME = 1 / 60

_SHOWN_WHOLE = 32


def say(event: str, **facts: object) -> None:
    """Report an event to the test: one JSON object, one line."""
    print(json.dumps({"event": event, **facts}), flush=True)


class Commands:
    """The JSON lines on standard input, read on a thread of their own."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)

    def taken(self) -> Iterator[dict]:
        """The commands that came since the last call."""
        while not self._lines.empty():
            yield json.loads(self._lines.get())


def game_message(retry: int, number: int) -> bytes:
    """A small message, as a game sends one each frame; no two are alike."""
    return f"mode {retry} number {number}".encode()


def game_messages() -> list[bytes]:
    """All the small messages that one side sends."""
    return [game_message(retry, n) for n in range(GAME_MESSAGES) for retry in RETRY_MODES]


# Of 1433 and 1434 bytes the published sender keeps for ever what it is given.
SIZES_TO_PUBLISHED = (1, 1432, 1433, 1434, 1435, 20 * 1024, 1024 * 1024)
SIZES_FROM_PUBLISHED = (1, 1432, 1435, 20 * 1024, 1024 * 1024)


# Of what one packet holds on every path, and more.
SIZES_ON_A_NARROW_PATH = (1, 1194, 1195, 1432, 1434, 1435, 20 * 1024)
NARROW_PATH = 1440
"""Bytes of the largest datagram of a path that takes the hellos, of 1,438, and few larger ones."""
NARROW_PATH_FOUND = 5.0
"""Seconds in which a sender finds that out, with large and small messages every tenth of one."""


def content(size: int) -> bytes:
    """A message of that many bytes, without a pattern in it."""
    return random.Random(size).randbytes(size)


def fingerprint(message: bytes) -> str:
    """A message in a few characters, for comparison and to be shown."""
    if len(message) <= _SHOWN_WHOLE:
        return repr(message)
    return f"{len(message)} bytes, sha256 {hashlib.sha256(message).hexdigest()}"
