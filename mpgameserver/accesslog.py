"""The access log: who came and went, one line each."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["AccessLog"]


class AccessLog:
    """Appends lines to a file, each with the time in UTC before it.

    The file is opened for each line, so that it can be moved away at any time.

    Raises OSError where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._append("")

    def write(self, line: str) -> None:
        """Append a line, given without its end. Raises OSError."""
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._append(f"{time} {line}\n")

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
