"""Calls for a server's clients that other threads make, until its own thread makes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["MAX_BYTES", "MAX_CALLS_PER_TURN", "MESSAGE_COST", "HandOver"]

MAX_BYTES = 64 << 20
"""Bytes of messages that wait: four times what may wait to be sent to one client."""
MESSAGE_COST = 1024
"""Bytes that a message counts beside its own, so that no more than 65,536 wait."""
MAX_CALLS_PER_TURN = 1024
"""Calls made before the sessions have their turn: some milliseconds."""

_Call = tuple[int, Callable[..., object], tuple[object, ...]]


class HandOver:
    """A bounded queue of calls, in the order in which they were made.

    `wake` is called, on the thread of the caller, when the first call comes to wait.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._calls: deque[_Call] = deque()
        self._bytes = 0
        self._is_open = True
        # Reentrant: a signal handler may call while its thread is in here.
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, size: int, function: Callable[..., object], *arguments: object) -> bool:
        """Have `function(*arguments)` called; False where there is no room for its `size` bytes.

        What takes no bytes always has room.
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
        """Take the oldest calls, as many as there are to be in a turn."""
        if not self._calls:
            return []
        with self._lock:
            calls = [
                self._calls.popleft() for _ in range(min(len(self._calls), MAX_CALLS_PER_TURN))
            ]
            self._bytes -= sum(size for size, _, _ in calls)
        return calls

    def close(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._is_open = False
