"""A bounded queue in which nobody waits behind all that somebody else has put in.

When it is full, a party gets room at the cost of those that have the most in it. Among them chance
decides: whatever a flood from many parties does, and however it is timed, a newcomer gets in, and
gives way to each that comes later with a small probability only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

from mpgameserver.eviction import nth

__all__ = ["FairQueue"]

_ItemT = TypeVar("_ItemT")
_Groups = tuple[tuple[Hashable, int], ...]


class FairQueue(Generic[_ItemT]):
    """Items of many parties: one party after the other gives one, its oldest.

    `limit` bounds the items of all parties, `limit_per_party` those of each. A key names an item
    within its party. Parties may belong to wider groups, which are bounded too. `rng` decides who
    gives way when the queue is full.
    """

    def __init__(self, limit: int, limit_per_party: int, rng: Random) -> None:
        self._limit = limit
        self._limit_per_party = limit_per_party
        self._rng = rng
        self._parties: OrderedDict[Hashable, OrderedDict[Hashable, _ItemT]] = OrderedDict()
        self._by_count: dict[int, dict[Hashable, None]] = {}
        self._groups_of: dict[tuple[Hashable, Hashable], _Groups] = {}
        self._in_group: Counter[Hashable] = Counter()
        self.size: int = 0
        """The number of items of all parties."""

    def has(self, party: Hashable, key: Hashable) -> bool:
        """True while the party's item with that key waits."""
        return key in self._parties.get(party, ())

    def push(
        self, party: Hashable, key: Hashable, item: _ItemT, groups: _Groups = ()
    ) -> _ItemT | None:
        """Put an item in that does not wait yet; return the one for which there is no room then.

        That is another party's, or the item itself: the bounds of its party and its groups hold
        whatever room there is. `groups` are the wider groups of the party, each with how many
        parties' room it has.
        """
        items = self._parties.get(party, ())
        if len(items) >= self._limit_per_party or self._is_group_full(groups):
            return item
        evicted = None
        if self.size >= self._limit:
            largest = max(self._by_count)
            if len(items) >= largest:
                return item
            evicted = self._evict(largest)
        self._put(party, key, item, groups)
        return evicted

    def _is_group_full(self, groups: _Groups) -> bool:
        return any(
            self._in_group[group] >= self._limit_per_party * shares for group, shares in groups
        )

    def _evict(self, count: int) -> _ItemT:
        """Take out a random item of a random one of the parties that have so many."""
        parties = self._by_count[count]
        party = nth(parties, self._rng.randrange(len(parties)))
        key = nth(self._parties[party], self._rng.randrange(count))
        return self.remove(party, key)

    def _put(self, party: Hashable, key: Hashable, item: _ItemT, groups: _Groups) -> None:
        items = self._parties.setdefault(party, OrderedDict())
        items[key] = item
        self._count(party, len(items) - 1, len(items))
        if groups:
            self._groups_of[party, key] = groups
            self._in_group.update(group for group, _ in groups)

    def _count(self, party: Hashable, before: int, after: int) -> None:
        """Note how many items a party has."""
        self.size += after - before
        if before:
            del self._by_count[before][party]
            if not self._by_count[before]:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[party] = None
        else:
            del self._parties[party]

    def pop(self) -> _ItemT:
        """Take the item whose turn it is. Raises IndexError when none waits."""
        if not self._parties:
            raise IndexError("nothing waits")
        party, items = next(iter(self._parties.items()))
        self._parties.move_to_end(party)
        return self.remove(party, next(iter(items)))

    def remove(self, party: Hashable, key: Hashable) -> _ItemT:
        """Take an item out before its turn. Raises KeyError when it does not wait."""
        items = self._parties[party]
        item = items.pop(key)
        self._count(party, len(items) + 1, len(items))
        for group, _ in self._groups_of.pop((party, key), ()):
            self._in_group[group] -= 1
            if not self._in_group[group]:
                del self._in_group[group]
        return item

    def clear(self) -> None:
        """Take all items out."""
        self._parties.clear()
        self._by_count.clear()
        self._groups_of.clear()
        self._in_group.clear()
        self.size = 0
