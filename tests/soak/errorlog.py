"""The errors that a server logs, raised: what an event or a callback of it finds wrong."""

from __future__ import annotations

import logging


class ErrorLog(logging.Handler):
    """Raises what was logged as an error while it was in place."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._records: list[logging.LogRecord] = []

    def __enter__(self) -> None:
        logging.getLogger("mpgameserver").addHandler(self)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("mpgameserver").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def check(self) -> None:
        """AssertionError with the first line that was logged, if any was."""
        for record in self._records:
            cause = record.exc_info[1] if record.exc_info else None
            raise AssertionError(f"logged: {record.getMessage()}: {cause!r}") from cause
