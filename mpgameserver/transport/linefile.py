"""A file of lines for its owner's eyes: a packet trace, a key log."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["LineFile", "open_named"]

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_OWNER_ONLY = 0o600
_File = TypeVar("_File")


class LineFile:
    """Appends lines to a file, each call's in one write: several may share it.

    `kind` is what the file is, as the log says. A new file has the mode 0600.

    Raises OSError if the file cannot be written. A later error, or a file that is full, whoever
    filled it, ends the writing with a line in the log.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str, log: logging.Logger) -> None:
        self.path: Path = Path(path)
        self._kind, self._log = kind, log
        self._fd = os.open(self.path, _APPEND, _OWNER_ONLY)
        self._close = weakref.finalize(self, os.close, self._fd)

    @property
    def is_open(self) -> bool:
        """True until the writing has ended."""
        return self._close.alive

    def append(self, lines: bytes, max_bytes: int) -> None:
        """Append whole lines, unless the file would have more than `max_bytes`."""
        if not self.is_open:
            return
        try:
            if os.fstat(self._fd).st_size + len(lines) > max_bytes:
                self._end(f"it has {max_bytes} bytes")
            else:
                os.write(self._fd, lines)
        except OSError as error:
            self._end(error.strerror or str(error))

    def _end(self, reason: str) -> None:
        self._close()
        self._log.warning("the %s %s ends here: %s", self._kind, self.path, reason)


def open_named(
    path: str | os.PathLike[str] | None,
    variable: str,
    open_file: Callable[[str | os.PathLike[str]], _File],
) -> _File | None:
    """Open the file `path`, by default the one that an environment variable names, if any.

    An empty path stands for no file. Raises OSError if the file cannot be written; it names the
    variable if that named the file.
    """
    if path is not None:
        return open_file(path) if path else None
    chosen = os.environ.get(variable)
    if not chosen:
        return None
    try:
        return open_file(chosen)
    except OSError as error:
        text = f"{error.strerror} (the file that {variable} names)"
        raise OSError(error.errno, text, chosen) from error
