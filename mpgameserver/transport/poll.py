"""Blocking until a socket can be used.

It uses `poll` where available, because a `selectors` object takes several times as long per wait
and opens a file of its own. Windows has `select`, which suffices for the few sockets of one wait.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["BusyPoller", "Waiter", "wait_readable"]

SPIN = 50e-6
"""Seconds of busy-polling before a sleep: about as long as falling asleep and being woken takes on
a virtual machine, so a failed busy-poll costs no more than twice what sleeping at once does."""
QUICK = 100e-6
"""Seconds within which a wait, waking included, must end to be worth busy-polling."""
STREAK = 8
"""Quick waits in a row after which the next one busy-polls, so that bursts with long pauses between
them do not each cost a failed busy-poll."""


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Waiter:
    """Waits until one of some sockets is readable, or one of them writable."""

    def __init__(self, *socks: _HasFileno) -> None:
        self._descriptors = [sock.fileno() for sock in socks]
        self._writable: int | None = None
        # Looked up each time: libraries for green threads patch `select` and may remove `poll`.
        poll = getattr(select, "poll", None)
        self._poll = None if poll is None else poll()
        if self._poll is not None:
            for descriptor in self._descriptors:
                self._poll.register(descriptor, select.POLLIN)

    def want_write(self, sock: _HasFileno, wanted: bool) -> None:
        """Let the wait also end when the socket is writable, or no longer."""
        descriptor = sock.fileno()
        if wanted == (self._writable == descriptor):
            return
        self._writable = descriptor if wanted else None
        if self._poll is not None:
            self._poll.modify(descriptor, select.POLLIN | (select.POLLOUT if wanted else 0))

    def wait(self, seconds: float) -> set[int]:
        """Wait for at most `seconds`; return the file descriptors of the sockets that are ready.

        Rounded up to milliseconds, the unit of `poll`: otherwise a caller would wait repeatedly for
        less than one, with a coarse clock such as that of Windows.
        """
        milliseconds = math.ceil(seconds * 1000)
        if self._poll is not None:
            return {descriptor for descriptor, _ in self._poll.poll(milliseconds)}
        writable = () if self._writable is None else (self._writable,)
        readable, takes_more, _ = select.select(
            self._descriptors, writable, (), milliseconds / 1000
        )
        return {*readable, *takes_more}


class BusyPoller(Waiter):
    """A `Waiter` that busy-polls before it sleeps, while datagrams arrive in quick succession.

    Being woken takes as long as serving several datagrams, for the sender as well as the receiver.
    When datagrams are less frequent, it sleeps at once like any `Waiter`. `spin(seconds)`
    busy-polls `sock` for that long and returns True if it is readable.
    """

    def __init__(
        self, spin: Callable[[float], bool], sock: _HasFileno, *others: _HasFileno
    ) -> None:
        super().__init__(sock, *others)
        self._spin = spin
        self._found = {sock.fileno()}
        self._quick_in_a_row = 0

    def wait(self, seconds: float) -> set[int]:
        """Wait for at most `seconds`; return the file descriptors of the sockets that are ready."""
        began = time.perf_counter()
        polls = self._quick_in_a_row >= STREAK
        if polls and self._spin(min(seconds, SPIN)):
            return self._found
        ready = super().wait(seconds)
        is_quick = ready and not polls and time.perf_counter() - began < QUICK
        self._quick_in_a_row = self._quick_in_a_row + 1 if is_quick else 0
        return ready


def wait_readable(sock: _HasFileno, seconds: float) -> None:
    """Block until something can be read, for at most `seconds`."""
    Waiter(sock).wait(seconds)
