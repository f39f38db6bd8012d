"""A bounded set that forgets a random member when it is full."""

from __future__ import annotations

from random import Random

__all__ = ["RandomSet"]


class RandomSet:
    """Up to `limit` integers, in constant time; `rng` chooses the one to forget."""

    def __init__(self, limit: int, rng: Random) -> None:
        self._limit = limit
        self._rng = rng
        self._members: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: int) -> bool:
        return member in self._places

    def add(self, member: int) -> None:
        """Add a member; if there is no room, forget another one."""
        if member in self._places:
            return
        if len(self._members) >= self._limit:
            self.discard(self._members[self._rng.randrange(len(self._members))])
        self._places[member] = len(self._members)
        self._members.append(member)

    def discard(self, member: int) -> None:
        """Remove a member, if it is present."""
        place = self._places.pop(member, None)
        if place is None:
            return
        last = self._members.pop()
        if place < len(self._members):
            self._members[place] = last
            self._places[last] = place

    def clear(self) -> None:
        """Remove all members."""
        self._members.clear()
        self._places.clear()
