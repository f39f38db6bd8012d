"""Warns of events that block the server, because no client is served while one runs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable

from mpgameserver.transport.ratelog import LimitedLog

__all__ = ["SLOW_EVENT", "SlowEventLog"]

SLOW_EVENT = 0.25
"""Seconds: more than two keep-alive intervals, and fifteen ticks; players see it as a freeze."""

_LOG = logging.getLogger("mpgameserver.server")
_PER_MESSAGE = "handle_message or a message's callback"


class SlowEventLog:
    """Times each event but those of messages, which are timed by the go.

    `read` tells monotonic seconds: it is that of the budget of calls, for which an event's time
    counts as well.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._timed = 0.0
        self._logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))

    def begin(self) -> float:
        """The time at which an event begins."""
        return self._read()

    def end(self, name: str, began: float) -> None:
        """Note the end of an event that began at that time."""
        now = self._read()
        self._timed += now - began
        self._judge(name, now - began, now)

    def end_go(self, began: float) -> None:
        """Note the end of a go: what no timed event has taken is taken to be the messages'."""
        now = self._read()
        timed, self._timed = self._timed, 0.0
        self._judge(_PER_MESSAGE, now - began - timed, now)

    def _judge(self, name: str, seconds: float, now: float) -> None:
        if seconds > SLOW_EVENT:
            self._logs[name].warning(
                now, "%s blocked the server for %.2f s, and all its clients", name, seconds
            )
