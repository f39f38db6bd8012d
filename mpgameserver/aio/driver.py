"""Calls the turns of a client or a server from an asyncio loop when they are due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from mpgameserver import forks
from mpgameserver.aio.watch import LoopWatch, ThreadWatch, Watch

__all__ = ["Driver"]

MIN_DELAY = 0.001
"""Minimum seconds to a timer: loops count in milliseconds, and would call too early."""
BLOCKED_DELAY = 0.1
"""The same while the socket is not writable, for which everything waits."""
RENEWAL_INTERVAL = 0.1
"""Minimum seconds between two registrations of the same sockets. If the loop has dropped one, a
turn is late by at most this or the time to the next timer; 20 system calls a second are
negligible."""


class Driven(Protocol):
    """The interface that a driver needs of the client or server that it drives."""

    @property
    def wants_write(self) -> bool:
        """True while the socket is not writable."""

    def filenos(self) -> tuple[int, ...]:
        """The file descriptors to wait for; the first is the one that is written to."""

    def next_timer(self) -> float:
        """Time of the next turn, in seconds of `time.perf_counter`."""


class Driver:
    """Calls `turn` in the running loop: for a socket, for a timer, or after `soon`."""

    def __init__(self, driven: Driven, turn: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._driven = driven
        self._turn = turn
        self._watch: Watch = LoopWatch(self._loop, self._run)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._soon: asyncio.Handle | None = None
        self._next_renewal = 0.0
        self._is_active = False
        forks.end_in_child(self)

    def start(self) -> None:
        """Call the first turn at once."""
        self._is_active = True
        self._run()

    def soon(self) -> None:
        """Call a turn in the loop's next iteration; no effect before `start`."""
        if self._soon is None and self._is_active:
            self._soon = self._loop.call_soon(self._run_soon)

    def close(self) -> None:
        """Call no more turns; to be called before the sockets are closed."""
        self._is_active = False
        self._watch.close()
        for handle in (self._timer, self._soon):
            if handle is not None:
                handle.cancel()
        self._timer = self._soon = None

    def end_in_child(self) -> None:
        """Call no more turns: the loop is the parent process's."""
        self._is_active = False
        self._watch.end_in_child()
        self._timer = self._soon = None

    def _run_soon(self) -> None:
        self._soon = None
        self._run()
        self._renew()

    def _run_timer(self) -> None:
        self._timer = None
        self._run()
        self._renew()

    def _renew(self) -> None:
        """Register the sockets again, because the loop may have dropped one."""
        now = self._loop.time()
        if self._is_active and now >= self._next_renewal:
            self._next_renewal = now + RENEWAL_INTERVAL
            self._watch.renew()

    def _run(self) -> None:
        if not self._is_active:
            return
        self._turn()
        if self._is_active:
            self._wait_for_sockets()
        if self._is_active:
            self._schedule()

    def _wait_for_sockets(self) -> None:
        """Register the sockets; a finalizer may close the driver and the sockets meanwhile."""
        filenos = self._driven.filenos()
        wanted = set(filenos), filenos[0] if self._driven.wants_write else None
        self._set_watch(*wanted)
        if not self._is_active:
            self._watch.close()

    def _set_watch(self, readers: set[int], writer: int | None) -> None:
        try:
            self._watch.set(readers, writer)
        except NotImplementedError:
            self._watch = ThreadWatch(self._loop, self._run)
            self._watch.set(readers, writer)

    def _schedule(self) -> None:
        """Set a timer for the next due time at the latest; an early one does no harm."""
        due = self._driven.next_timer()
        if due == float("inf"):
            return
        least = BLOCKED_DELAY if self._driven.wants_write else MIN_DELAY
        when = self._loop.time() + max(due - time.perf_counter(), least)
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when  # a handle of uvloop has no time if that has passed
        self._timer = self._loop.call_at(when, self._run_timer)
