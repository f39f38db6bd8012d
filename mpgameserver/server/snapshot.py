"""Requests for a server's statistics from another thread."""

from __future__ import annotations

import threading

from mpgameserver import forks
from mpgameserver.server.context import ServerContext
from mpgameserver.server.stats import ServerFigures

__all__ = ["FiguresAsker"]


class FiguresAsker:
    """Requests the statistics of a context's server, which only the server's own thread may read.

    Make it before the server. One request waits at a time; while no server runs, it gets no reply.
    `ask`, `take` and `wait` may be called from any thread except the server's own.
    """

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._meter = context.enableMeter()
        self._condition = threading.Condition()
        self._is_asked = False
        self._answer: ServerFigures | None = None
        forks.end_in_child(self)

    def ask(self) -> None:
        """Ask, unless a request is waiting."""
        with self._condition:
            if self._is_asked:
                return
            self._is_asked = True
        self._context.call_soon_threadsafe(self._tell)

    def take(self) -> ServerFigures | None:
        """Return the reply, once; None while there is none."""
        with self._condition:
            answer, self._answer = self._answer, None
            return answer

    def wait(self, seconds: float) -> ServerFigures | None:
        """Ask, and wait for the reply; return None if there is none within that time."""
        self.take()
        self.ask()
        with self._condition:
            self._condition.wait_for(lambda: self._answer is not None, seconds)
        return self.take()

    def end_in_child(self) -> None:
        """Drop the request, and replace the lock, which a thread of the parent may have held."""
        self._condition = threading.Condition()
        self._is_asked = False
        self._answer = None

    def _tell(self) -> None:
        figures = self._meter.figures()
        with self._condition:
            self._answer = figures
            self._is_asked = False
            self._condition.notify_all()
