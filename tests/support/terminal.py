"""A program on a pseudo-terminal: keys are pressed, and what it writes to the screen is read."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from support.patience import PATIENCE

_CURSOR_AT_THE_CORNER = b"\x1b[1;1R"
"""The answer to a program that asks where the cursor is."""


class Terminal:
    """A Python program that runs in a folder, on a terminal, until the block is left."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._screen, program = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *arguments],
            cwd=folder,
            stdin=program,
            stdout=program,
            stderr=program,
            env=os.environ | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(program)
        self.written = ""

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
        while (found := re.search(pattern, self.written, re.S)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not in {self.written!r}"
            self._read()
        self.written = self.written[found.end() :]

    def _read(self) -> None:
        if not select.select([self._screen], [], [], 0.1)[0]:
            return
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # EIO: the program has closed its end
            return
        if b"\x1b[6n" in data:
            os.write(self._screen, _CURSOR_AT_THE_CORNER)
        self.written += data.decode(errors="replace")
