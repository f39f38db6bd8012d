"""Waits for sockets on behalf of an event loop: in the loop, or in a thread where it cannot.

The proactor loop, the default on Windows, waits for operations that it has begun itself, but not
for sockets that other code reads. There, a thread waits and wakes the loop. In both cases the loop
calls `ready` once a socket is ready, and `set` must be called again after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from mpgameserver.transport.poll import Waiter

__all__ = ["LoopWatch", "ThreadWatch", "Watch"]

LONG = 3600.0
"""Seconds of one wait of the thread, which only its sockets end."""


class Watch(Protocol):
    """A wait for sockets."""

    def set(self, readers: set[int], writer: int | None) -> None:
        """Wait until one of `readers` is readable, or `writer`, one of them, is writable."""

    def renew(self) -> None:
        """Register the sockets again, in case the loop has silently dropped them."""

    def close(self) -> None:
        """Stop waiting; must be called before the sockets are closed."""

    def end_in_child(self) -> None:
        """Stop waiting in a forked process; the parent continues to wait."""


class LoopWatch:
    """Lets the loop wait; `set` raises NotImplementedError if the loop cannot.

    The loop waits for duplicates of the descriptors, because libuv, on which uvloop runs, aborts
    the process if something else has closed a registered descriptor.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Callable[[], object]) -> None:
        self._loop = loop
        self._ready = ready
        self._duplicates: dict[int, int] = {}
        self._writer: int | None = None

    def set(self, readers: set[int], writer: int | None) -> None:
        """As in `Watch`; one that is closed is not waited for."""
        if self._writer is not None and self._writer != writer:
            self._loop.remove_writer(self._duplicates[self._writer])
            self._writer = None
        for descriptor in self._duplicates.keys() - readers:
            self._stop_reading(descriptor)
        for descriptor in readers - self._duplicates.keys():
            with contextlib.suppress(OSError):
                self._read(descriptor)
        if writer != self._writer and writer in self._duplicates:
            self._loop.add_writer(self._duplicates[writer], self._ready)
            self._writer = writer

    def _read(self, descriptor: int) -> None:
        duplicate = _duplicate(descriptor)
        try:
            self._loop.add_reader(duplicate, self._ready)
        except BaseException:
            _close(duplicate)
            raise
        self._duplicates[descriptor] = duplicate

    def _stop_reading(self, descriptor: int) -> None:
        duplicate = self._duplicates.pop(descriptor, None)
        if duplicate is not None:  # otherwise a finalizer has closed it meanwhile
            self._loop.remove_reader(duplicate)
            _close(duplicate)

    def renew(self) -> None:
        """As in `Watch`: uvloop ends a poll handle with the first error of its socket.

        Any host on the path can cause one, by an ICMP port unreachable.
        """
        wanted = set(self._duplicates), self._writer
        self.set(set(), None)
        self.set(*wanted)

    def close(self) -> None:
        """As in `Watch`."""
        self.set(set(), None)

    def end_in_child(self) -> None:
        """As in `Watch`: what the loop waits with may be shared with the parent (epoll(7))."""
        for duplicate in self._duplicates.values():
            _close(duplicate)
        self._duplicates, self._writer = {}, None


def _duplicate(descriptor: int) -> int:
    return descriptor if os.name == "nt" else os.dup(descriptor)  # there it is no descriptor


def _close(duplicate: int) -> None:
    if os.name != "nt":
        with contextlib.suppress(OSError):  # something else has closed it already
            os.close(duplicate)


class _Descriptor(int):
    """A descriptor that a `Waiter` accepts."""

    fileno = int.__int__


class ThreadWatch:
    """Lets a thread wait.

    It waits once for each `set`: after the loop has called `ready`, it waits for the next `set`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ready: Callable[[], object]) -> None:
        self._loop = loop
        self._ready = ready
        self._waited_for: tuple[set[int], int | None] | None = None
        self._asked_for: tuple[set[int], int | None] | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="mpgameserver-asyncio", daemon=True)
        self._asked, self._asking = socket.socketpair()
        try:
            self._thread.start()
        except BaseException:  # no thread is left
            self._asked.close()
            self._asking.close()
            raise

    def set(self, readers: set[int], writer: int | None) -> None:
        """As in `Watch`."""
        wanted = readers, writer
        if wanted != self._waited_for and not self._is_closed:
            self._waited_for = self._asked_for = wanted
            self._asking.send(b"\0")

    def renew(self) -> None:
        """As in `Watch`: the thread registers anew for each wait."""

    def close(self) -> None:
        """As in `Watch`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._asking.send(b"\0")
        self._thread.join()
        self._asked.close()
        self._asking.close()

    def end_in_child(self) -> None:
        """As in `Watch`: there is no thread."""
        self._is_closed = True
        self._asked.close()
        self._asking.close()

    def _run(self) -> None:
        waiter = Waiter(self._asked)
        while not self._is_closed:
            try:
                usable = waiter.wait(LONG)
            except OSError:  # by `select` only: a socket was closed meanwhile
                usable = {-1}
            if self._asked.fileno() in usable:
                self._asked.recv(4096)
                waiter = self._new_waiter()
            elif usable:
                waiter = Waiter(self._asked)
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._woken)

    def _new_waiter(self) -> Waiter:
        readers, writer = self._asked_for or (set(), None)
        waiter = Waiter(self._asked, *map(_Descriptor, readers))
        if writer is not None:
            waiter.want_write(_Descriptor(writer), True)
        return waiter

    def _woken(self) -> None:
        self._waited_for = None
        if not self._is_closed:
            self._ready()
