"""Rate-limited log lines, for events that a peer can cause."""

from __future__ import annotations

import logging

__all__ = ["LimitedLog"]

LOG_INTERVAL = 1.0
"""Seconds between two lines: what an attacker sends must not fill a disk."""


class LimitedLog:
    """Logs at most `lines` lines per `LOG_INTERVAL`, and how many were omitted."""

    def __init__(
        self, logger: logging.Logger | logging.LoggerAdapter[logging.Logger], lines: int = 1
    ) -> None:
        self._logger = logger
        self._lines = self._lines_left = lines
        self._next = float("-inf")
        self._left_out = 0

    def info(self, now: float, message: str, *args: object) -> None:
        """Log at INFO, at the monotonic time `now` in seconds, or count it as omitted."""
        self._log(logging.INFO, now, message, args)

    def warning(self, now: float, message: str, *args: object) -> None:
        """Log at WARNING, at the monotonic time `now` in seconds, or count it as omitted."""
        self._log(logging.WARNING, now, message, args)

    def exception(self, now: float, message: str, *args: object) -> None:
        """Log an error with the traceback of the exception being handled, likewise."""
        self._log(logging.ERROR, now, message, args)

    def _log(self, level: int, now: float, message: str, args: tuple[object, ...]) -> None:
        if now >= self._next:
            self._next = now + LOG_INTERVAL
            self._lines_left = self._lines
        if not self._lines_left:
            self._left_out += 1
            return
        self._lines_left -= 1
        if self._left_out:
            message += " (and %d more like it)"
            args = (*args, self._left_out)
            self._left_out = 0
        self._logger.log(level, message, *args, exc_info=level >= logging.ERROR)

    def finish(self) -> None:
        """Log at INFO how many lines were omitted since the last one."""
        if self._left_out:
            self._logger.info("%d more like the last line", self._left_out)
            self._left_out = 0
