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
    """Times each event; those of messages are timed together, once per turn.

    `read` returns monotonic seconds; it is `CallBudget.read`, so that an event's time counts
    towards the budget of calls, too.
    """

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._timed = 0.0
        self._logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))

    def begin(self) -> float:
        """Return the time at which an event begins."""
        return self._read()

    def end(self, name: str, began: float) -> None:
        """Record the end of an event that began at that time."""
        now = self._read()
        self._timed += now - began
        self._judge(name, now - began, now)

    def end_turn(self, began: float) -> None:
        """Record the end of a turn; time that no timed event took is attributed to messages."""
        now = self._read()
        timed, self._timed = self._timed, 0.0
        self._judge(_PER_MESSAGE, now - began - timed, now)

    def _judge(self, name: str, seconds: float, now: float) -> None:
        if seconds > SLOW_EVENT:
            self._logs[name].warning(
                now, "%s blocked the server for %.2f s, and all its clients", name, seconds
            )
