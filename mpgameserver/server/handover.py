"""A queue of calls of other threads for a server's clients, made on the server's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["MAX_BYTES", "MAX_CALLS_PER_TURN", "MESSAGE_COST", "HandOver"]

MAX_BYTES = 64 << 20
"""Bytes of queued messages: four times what may be queued for one client."""
MESSAGE_COST = 1024
"""Overhead in bytes counted for each message, so that at most 65,536 are queued."""
MAX_CALLS_PER_TURN = 1024
"""Calls made per turn, before the sessions: some milliseconds."""

_Call = tuple[int, Callable[..., object], tuple[object, ...]]


class HandOver:
    """A bounded queue of calls, in the order in which they were made.

    `wake` is called, on the caller's thread, when a call is put into the empty queue.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._calls: deque[_Call] = deque()
        self._bytes = 0
        self._is_open = True
        # Reentrant, because a signal handler may call while its thread holds it.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, size: int, function: Callable[..., object], *arguments: object) -> bool:
        """Queue `function(*arguments)`; return False if there is no room for its `size` bytes.

        There is always room for a call of 0 bytes.
        """
        with self._lock:
            if not self._is_open or (size and self._bytes + size > MAX_BYTES):
                return False
            self._bytes += size
            self._calls.append((size, function, arguments))
            is_first = len(self._calls) == 1
        if is_first:
            self._wake()
        return True

    def take(self) -> list[_Call]:
        """Take the oldest calls, at most those of one turn."""
        if not self._calls:
            return []
        with self._lock:
            calls = [
                self._calls.popleft() for _ in range(min(len(self._calls), MAX_CALLS_PER_TURN))
            ]
            self._bytes -= sum(size for size, _, _ in calls)
        return calls

    def close(self) -> None:
        """Refuse further calls."""
        with self._lock:
            self._is_open = False
