"""Choice of the entry to evict from a full table that anyone can fill.

To evict the oldest is certain death for an honest entry that needs longer than a flood takes to
go round the table. To evict one at random leaves it a chance of surviving each arrival, however
the flood is timed.
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
        """True if its sender has sent it again, as honest peers do while they wait."""


_EntryT = TypeVar("_EntryT", bound=Evictable)


def choose_victim(entries: Collection[_EntryT], rng: Random) -> _EntryT:
    """Pick the entry to evict: random, but a repeated one only if it is drawn twice.

    More than that must not be done for repeated entries: an attacker can repeat too, and then it
    is the newest honest entry that has not been repeated yet.
    """
    first, second = (_nth(entries, rng.randrange(len(entries))) for _ in range(2))
    return second if first.is_repeated and not second.is_repeated else first


def _nth(entries: Collection[_EntryT], n: int) -> _EntryT:
    return next(islice(entries, n, None))
