"""A bounded queue in which no party waits behind everything that another has put in.

When it is full, a newcomer takes the place of an item of whoever has the most in it, if that is
more than the newcomer would have then. So a few that fill it keep nobody out, and whoever has one
item never loses it to others.
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
    """Index of the places of each group and party, which finds the largest in constant time."""

    def __init__(self) -> None:
        self._places: dict[Hashable, dict[_Place, None]] = {}
        self._of_size: defaultdict[int, dict[Hashable, None]] = defaultdict(dict)
        self.most: int = 0
        """The number of places of whoever holds the most."""

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
        """The newest place of one that holds the most."""
        holder = next(iter(self._of_size[self.most]))
        return next(reversed(self._places[holder]))

    def _rank(self, holder: Hashable, before: int, now: int) -> None:
        self._of_size[before].pop(holder, None)
        if now:
            self._of_size[now][holder] = None
        if now > self.most or not self._of_size[self.most]:
            self.most = now


class FairQueue(Generic[_ItemT]):
    """Items of many parties: one party after the other gives one, its oldest.

    `limit` bounds the items of all parties, `limit_per_party` those of each. A key names an item
    within its party. Parties may belong to wider groups, which are bounded too; what counts when
    the queue is full is the widest. `on_evicted` is told of each item that loses its place.
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
        """True while the party's item with that key waits."""
        return key in self._parties.get(party, ())

    def push(self, party: Hashable, key: Hashable, item: _ItemT, groups: _Groups = ()) -> bool:
        """Put an item in that does not wait yet; False when there is no room for it.

        `groups` are the wider groups of the party, each with how many parties' room it has, the
        widest last.
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
        """Take the item whose turn it is. Raises IndexError when none waits."""
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
        """Take an item out before its turn. Raises KeyError when it does not wait."""
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
        """Take all items out."""
        self._parties.clear()
        self._groups_of.clear()
        self._widest = _Holders()
        self._in_group.clear()
        self.size = 0
