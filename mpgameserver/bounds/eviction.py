"""Choice of the entry to evict from a full table that anyone can fill.

Evicting the oldest always removes an honest entry that takes longer than the flood takes to fill
the table. Evicting a random one leaves it a chance to survive each arrival, however the flood is
timed.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from random import Random
from typing import Protocol, TypeVar

__all__ = ["Evictable", "choose_victim"]


class Evictable(Protocol):
    """An entry of such a table."""

    @property
    def is_repeated(self) -> bool:
        """True if its sender has repeated it, as honest peers do while they wait."""


_EntryT = TypeVar("_EntryT", bound=Evictable)


def choose_victim(entries: Collection[_EntryT], rng: Random) -> _EntryT:
    """Pick the entry to evict: random, but a repeated one only if it is drawn twice.

    Repeated entries must not be favoured more than that: an attacker can repeat, too, and then only
    the newest honest entry has not been repeated yet.
    """
    first, second = (_nth(entries, rng.randrange(len(entries))) for _ in range(2))
    return second if first.is_repeated and not second.is_repeated else first


def _nth(entries: Collection[_EntryT], n: int) -> _EntryT:
    return next(islice(entries, n, None))
