"""A program that is spoken with while it runs: what it prints is read, and lines are typed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from support.patience import PATIENCE


class Dialogue:
    """A Python program that runs in a folder until the block is left, and what it has printed."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *arguments],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self._is_over = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self._reader.join()
        with self.process:  # waits, and closes its pipes
            pass

    def type(self, line: str) -> None:
        """Give it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def type_no_more(self) -> None:
        """Close its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait for a line that is like that."""
        with self._more:
            self._more.wait_for(lambda: self._is_over or self._find(pattern), PATIENCE)
            match = self._find(pattern)
            assert match is not None, f"{pattern!r} is not in {self.printed}"
            return match

    def ended(self) -> int:
        """Wait until it has ended; its exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join()
        return code

    def _find(self, pattern: str) -> re.Match[str] | None:
        matches = (re.fullmatch(pattern, line) for line in self.printed)
        return next((match for match in matches if match), None)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.printed.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self._is_over = True
            self._more.notify_all()


def succeeds(folder: Path, *arguments: str) -> str:
    """Run a program that must succeed; what it printed."""
    with Dialogue(folder, *arguments) as program:
        assert program.ended() == 0, program.printed
        return "\n".join(program.printed)
