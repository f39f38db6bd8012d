"""A program on a pseudo-terminal: keys are pressed, and what it writes to the screen is read."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

from support.patience import PATIENCE

COLUMNS, LINES = 80, 24
_CURSOR_AT_THE_CORNER = b"\x1b[1;1R"
"""The answer to a program that asks where the cursor is."""


class Terminal:
    """A Python program that runs in a folder, on a terminal, until the block is left."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._screen, program = pty.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *arguments],
            cwd=folder,
            stdin=program,
            stdout=program,
            stderr=program,
            env=os.environ | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(program)
        self.written = ""
        """All that the program has written so far."""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._screen)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._screen, keys.encode())

    def sees(self, pattern: str) -> None:
        """Wait until the program has written that since the last call."""
        end = time.monotonic() + PATIENCE
        while (found := re.compile(pattern, re.S).search(self.written, self._seen)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not in {self.written[self._seen :]!r}"
            self._read()
        self._seen = found.end()

    def ended(self) -> int:
        """Wait until the program ends, and return its exit code."""
        end = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < end, f"the program does not end: {self.written!r}"
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        """Read what there is within a moment; False when the program has closed its end."""
        if not select.select([self._screen], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # EIO
            return False
        if b"\x1b[6n" in data:
            os.write(self._screen, _CURSOR_AT_THE_CORNER)
        self.written += data.decode(errors="replace")
        return bool(data)  # macOS has an end of file instead of EIO
