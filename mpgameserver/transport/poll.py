"""Blocking until a socket can be used.

It uses `poll` where there is one: a `selectors` object takes several times as long per wait, and
opens a file of its own. Windows has `select`, which serves the few sockets of one wait.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["EagerWaiter", "Waiter", "wait_readable"]

SPIN = 50e-6
"""Seconds of looking before a sleep: about as long as it takes to fall asleep and be woken on a
virtual machine, so that looking in vain costs no more than twice what sleeping at once does."""
QUICK = 100e-6
"""Seconds within which a wait ends, the waking included, that was short enough for a look."""
STREAK = 8
"""Quick waits in a row after which there is a look before the next: bursts with long pauses between
them must not cost a look in vain for each."""


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Waiter:
    """Waits for what any of some sockets has to read, or for one of them to take more."""

    def __init__(self, *socks: _HasFileno) -> None:
        self._descriptors = [sock.fileno() for sock in socks]
        self._writable: int | None = None
        # Looked up for each: what patches `select` for green threads may take `poll` away.
        poll = getattr(select, "poll", None)
        self._poll = None if poll is None else poll()
        if self._poll is not None:
            for descriptor in self._descriptors:
                self._poll.register(descriptor, select.POLLIN)

    def want_write(self, sock: _HasFileno, wanted: bool) -> None:
        """From here on the wait also ends when the socket takes more, or no longer does."""
        descriptor = sock.fileno()
        if wanted == (self._writable == descriptor):
            return
        self._writable = descriptor if wanted else None
        if self._poll is not None:
            self._poll.modify(descriptor, select.POLLIN | (select.POLLOUT if wanted else 0))

    def wait(self, seconds: float) -> set[int]:
        """Wait for at most `seconds`; the file descriptors of those that can be used.

        Rounded up to milliseconds, as `poll` counts: a clock of coarse steps, such as that of
        Windows, would have the caller wait again and again for less than one.
        """
        milliseconds = math.ceil(seconds * 1000)
        if self._poll is not None:
            return {descriptor for descriptor, _ in self._poll.poll(milliseconds)}
        writable = () if self._writable is None else (self._writable,)
        readable, takes_more, _ = select.select(
            self._descriptors, writable, (), milliseconds / 1000
        )
        return {*readable, *takes_more}


class EagerWaiter(Waiter):
    """A `Waiter` that looks before it sleeps, while what it waits for comes quickly.

    To be woken takes as long as to serve several datagrams, for who sends one as for who gets it.
    Where they come more seldom, it sleeps at once as any `Waiter` does.
    `spin(seconds)` looks at `sock` for so long and tells whether something can be read.
    """

    def __init__(
        self, spin: Callable[[float], bool], sock: _HasFileno, *others: _HasFileno
    ) -> None:
        super().__init__(sock, *others)
        self._spin = spin
        self._found = {sock.fileno()}
        self._quick_in_a_row = 0

    def wait(self, seconds: float) -> set[int]:
        """Wait for at most `seconds`; the file descriptors of those that can be used."""
        began = time.perf_counter()
        looks = self._quick_in_a_row >= STREAK
        if looks and self._spin(min(seconds, SPIN)):
            return self._found
        ready = super().wait(seconds)
        is_quick = ready and not looks and time.perf_counter() - began < QUICK
        self._quick_in_a_row = self._quick_in_a_row + 1 if is_quick else 0
        return ready


def wait_readable(sock: _HasFileno, seconds: float) -> None:
    """Block until something can be read, for at most `seconds`."""
    Waiter(sock).wait(seconds)
