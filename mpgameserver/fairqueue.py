"""A bounded queue in which nobody waits behind all that somebody else has put in."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

_ItemT = TypeVar("_ItemT")
_Groups = tuple[tuple[Hashable, int], ...]


class FairQueue(Generic[_ItemT]):
    """Items of many parties: one party after the other gives one, its oldest.

    `limit` bounds the items of all parties, `limit_per_party` those of each. A key names an item
    within its party. Parties may belong to wider groups, which are bounded too.
    """

    def __init__(self, limit: int, limit_per_party: int) -> None:
        self._limit = limit
        self._limit_per_party = limit_per_party
        self._parties: OrderedDict[Hashable, OrderedDict[Hashable, _ItemT]] = OrderedDict()
        self._groups_of: dict[tuple[Hashable, Hashable], _Groups] = {}
        self._in_group: Counter[Hashable] = Counter()
        self.size: int = 0
        """The number of items of all parties."""

    def has(self, party: Hashable, key: Hashable) -> bool:
        """True while the party's item with that key waits."""
        return key in self._parties.get(party, ())

    def push(self, party: Hashable, key: Hashable, item: _ItemT, groups: _Groups = ()) -> bool:
        """Put an item in that does not wait yet; False when there is no room for it.

        `groups` are the wider groups of the party, each with how many parties' room it has.
        """
        items = self._parties.get(party)
        if self.size >= self._limit or len(items or ()) >= self._limit_per_party:
            return False
        for group, shares in groups:
            if self._in_group[group] >= self._limit_per_party * shares:
                return False
        if items is None:
            items = self._parties[party] = OrderedDict()
        items[key] = item
        if groups:
            self._groups_of[party, key] = groups
            self._in_group.update(group for group, _ in groups)
        self.size += 1
        return True

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
        for group, _ in self._groups_of.pop((party, key), ()):
            self._in_group[group] -= 1
            if not self._in_group[group]:
                del self._in_group[group]

    def clear(self) -> None:
        """Take all items out."""
        self._parties.clear()
        self._groups_of.clear()
        self._in_group.clear()
        self.size = 0
