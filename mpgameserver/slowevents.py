"""Warns of events that block the server, for nobody is served while one runs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable

from mpgameserver.limitedlog import LimitedLog

__all__ = ["SLOW_EVENT", "SlowEventLog"]

SLOW_EVENT = 0.25
"""Seconds: more than two keep-alive intervals, and fifteen ticks; players see it as a freeze."""

_LOG = logging.getLogger("mpgameserver.server")
_PER_MESSAGE = "handle_message or a message's callback"


class SlowEventLog:
    """Times each event but those of messages, which are timed by the go: one look at the clock."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] | None = None
        """Tells monotonic seconds; None: events take no time."""
        self._timed = 0.0
        self._logs: defaultdict[str, LimitedLog] = defaultdict(lambda: LimitedLog(_LOG))

    def begin(self) -> float:
        """The time at which an event begins."""
        return 0.0 if self.clock is None else self.clock()

    def end(self, name: str, began: float) -> None:
        """Note the end of an event that began at that time."""
        if self.clock is not None:
            now = self.clock()
            self._timed += now - began
            self._judge(name, now - began, now)

    def end_go(self, began: float) -> None:
        """Note the end of a go: what no timed event has taken is taken to be the messages'."""
        if self.clock is not None:
            now = self.clock()
            timed, self._timed = self._timed, 0.0
            self._judge(_PER_MESSAGE, now - began - timed, now)

    def _judge(self, name: str, seconds: float, now: float) -> None:
        if seconds > SLOW_EVENT:
            self._logs[name].warning(
                now, "%s blocked the server for %.2f s: nobody is served meanwhile", name, seconds
            )
