"""A bounded queue in which parties take turns, so that none waits behind all items of another.

When the queue is full, a new item takes the place of one of the party with the most items, if that
is more than the new item's party would have. A few parties that fill the queue therefore keep
nobody out, and a party's only item is never lost to others.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

_ItemT = TypeVar("_ItemT")
_Groups = tuple[tuple[Hashable, int], ...]
_Place = tuple[Hashable, Hashable]
"""A party, and the key of an item within it."""


class _Holders:
    """An index of the items by group and party, which finds the largest in constant time."""

    def __init__(self) -> None:
        self._places: dict[Hashable, dict[_Place, None]] = {}
        self._of_size: defaultdict[int, dict[Hashable, None]] = defaultdict(dict)
        self.most: int = 0
        """The number of items of the largest holder."""

    def size(self, holder: Hashable) -> int:
        return len(self._places.get(holder, ()))

    def add(self, holder: Hashable, place: _Place) -> None:
        places = self._places.setdefault(holder, {})
        places[place] = None
        self._rank(holder, len(places) - 1, len(places))

    def remove(self, holder: Hashable, place: _Place) -> None:
        places = self._places[holder]
        del places[place]
        if not places:
            del self._places[holder]
        self._rank(holder, len(places) + 1, len(places))

    def newest_of_most(self) -> _Place:
        """Return the newest item of a largest holder."""
        holder = next(iter(self._of_size[self.most]))
        return next(reversed(self._places[holder]))

    def _rank(self, holder: Hashable, before: int, now: int) -> None:
        self._of_size[before].pop(holder, None)
        if now:
            self._of_size[now][holder] = None
        if now > self.most or not self._of_size[self.most]:
            self.most = now


class FairQueue(Generic[_ItemT]):
    """Items of many parties, taken from one party after the other, the oldest first.

    `limit` bounds the items of all parties, `limit_per_party` those of each. A key identifies an
    item within its party. Parties may belong to wider groups, which are bounded, too; the widest
    counts when the queue is full. `on_evicted` is called with each item that loses its place.
    """

    def __init__(
        self,
        limit: int,
        limit_per_party: int,
        on_evicted: Callable[[_ItemT], object] = lambda _: None,
    ) -> None:
        self._limit = limit
        self._limit_per_party = limit_per_party
        self._on_evicted = on_evicted
        self._parties: OrderedDict[Hashable, OrderedDict[Hashable, _ItemT]] = OrderedDict()
        self._groups_of: dict[_Place, tuple[Hashable, ...]] = {}
        self._widest = _Holders()
        self._in_group: dict[Hashable, int] = {}
        self.size: int = 0
        """The number of items of all parties."""

    def has(self, party: Hashable, key: Hashable) -> bool:
        """Return True if the party's item with that key is queued."""
        return key in self._parties.get(party, ())

    def push(self, party: Hashable, key: Hashable, item: _ItemT, groups: _Groups = ()) -> bool:
        """Queue a new item; return False if there is no room for it.

        `groups` are the wider groups of the party, each with the number of parties whose room it
        has, the widest last.
        """
        widest = groups[-1][0] if groups else party
        if self._exceeds_share(party, groups):
            return False
        if self.size >= self._limit and self._widest.most <= self._widest.size(widest) + 1:
            return False
        if self.size >= self._limit:
            self._evict(*self._widest.newest_of_most())
        self._parties.setdefault(party, OrderedDict())[key] = item
        names = tuple(group for group, _ in groups)
        if names:
            self._groups_of[party, key] = names
        for name in names:
            self._in_group[name] = self._in_group.get(name, 0) + 1
        self._widest.add(widest, (party, key))
        self.size += 1
        return True

    def _exceeds_share(self, party: Hashable, groups: _Groups) -> bool:
        if len(self._parties.get(party, ())) >= self._limit_per_party:
            return True
        for group, shares in groups:
            if self._in_group.get(group, 0) >= self._limit_per_party * shares:
                return True
        return False

    def _evict(self, party: Hashable, key: Hashable) -> None:
        item = self._parties[party][key]
        self.remove(party, key)
        self._on_evicted(item)

    def pop(self) -> _ItemT:
        """Take the item whose turn it is. Raises IndexError if the queue is empty."""
        if not self._parties:
            raise IndexError("nothing waits")
        party, items = next(iter(self._parties.items()))
        key, item = items.popitem(last=False)
        self._note_removed(party, key)
        if items:
            self._parties.move_to_end(party)
        else:
            del self._parties[party]
        return item

    def remove(self, party: Hashable, key: Hashable) -> None:
        """Remove an item. Raises KeyError if it is not queued."""
        items = self._parties[party]
        del items[key]
        self._note_removed(party, key)
        if not items:
            del self._parties[party]

    def _note_removed(self, party: Hashable, key: Hashable) -> None:
        self.size -= 1
        names = self._groups_of.pop((party, key), ())
        self._widest.remove(names[-1] if names else party, (party, key))
        for name in names:
            self._in_group[name] -= 1
            if not self._in_group[name]:
                del self._in_group[name]

    def clear(self) -> None:
        """Remove all items."""
        self._parties.clear()
        self._groups_of.clear()
        self._widest = _Holders()
        self._in_group.clear()
        self.size = 0
