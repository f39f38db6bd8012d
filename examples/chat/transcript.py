"""A file of everything said, which a restarted server reads again."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from pathlib import Path

from chat.wire import Line, decode_line, encode_line

MAX_LOADED = 5_000
"""Lines at the end of the file that are read: the histories of all rooms that are remembered."""


class Transcript:
    """A file with a line for each that was said; reading and writing it does not block the loop."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> list[Line]:
        """The last lines, oldest first; invalid lines are skipped."""
        return await asyncio.to_thread(self._load)

    async def add(self, line: Line) -> None:
        """Append a line. Raises OSError where that cannot be done."""
        await asyncio.to_thread(self._append, encode_line(line) + b"\n")

    def _load(self) -> list[Line]:
        lines = []
        try:
            with self._path.open("rb") as file:
                last = deque(file, maxlen=MAX_LOADED)
        except FileNotFoundError:
            return []
        for record in last:
            try:
                lines.append(decode_line(record.rstrip(b"\n")))
            except ValueError:  # cut short when the machine went down
                continue
        return lines

    def _append(self, record: bytes) -> None:
        # Opened for each line, so that it can be moved away while the server runs.
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, record)
        finally:
            os.close(handle)
