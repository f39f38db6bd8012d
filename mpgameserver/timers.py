"""When to look at which of many things again, without looking at all of them."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

__all__ = ["Timers"]

_ItemT = TypeVar("_ItemT", bound=Hashable)


class Timers(Generic[_ItemT]):
    """A heap of times, one for each item.

    A time is only ever moved forward to an earlier one; whoever finds at that time that a later
    one would have done schedules again. So a timer that every datagram pushes back costs nothing
    per datagram.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _ItemT]] = []
        self._due: dict[_ItemT, float] = {}
        self._order = count()

    def __len__(self) -> int:
        return len(self._due)

    def schedule(self, item: _ItemT, when: float) -> None:
        """Have the item popped at `when`, or at an earlier time that it has; never if infinite."""
        if when < self._due.get(item, float("inf")):
            self._due[item] = when
            heappush(self._heap, (when, next(self._order), item))

    def cancel(self, item: _ItemT) -> None:
        """Forget the item's time, if it has one."""
        self._due.pop(item, None)

    def next_time(self) -> float:
        """The earliest time; infinity when there is none."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else float("inf")

    def pop_due(self, now: float) -> list[_ItemT]:
        """Take the items whose time has come, the earliest first."""
        items: list[_ItemT] = []
        if not self._heap or self._heap[0][0] > now:
            return items
        self._drop_stale()
        while self._heap and self._heap[0][0] <= now:
            item = heappop(self._heap)[2]
            del self._due[item]
            items.append(item)
            self._drop_stale()
        return items

    def _drop_stale(self) -> None:
        """Drop entries that a cancellation or an earlier time has made void."""
        heap, due = self._heap, self._due
        while heap and due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
