"""Puts what arrives in any order back into the order in which it was sent."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

MAX_EARLY = 1024
"""Items that may wait for an earlier one: far more than a network reorders, and a limit for peers
that leave a number out for ever."""


class InOrder(Generic[T]):
    """Items numbered from 1 without gaps, and sent as reliable messages."""

    def __init__(self) -> None:
        self._next = 1
        self._early: dict[int, T] = {}

    def take(self, number: int, item: T) -> list[T]:
        """Those whose turn has come with this one; none while one before is missing.

        Raises ValueError for a number that was there, or that no honest sender can be at.
        """
        if number < self._next or number in self._early:
            raise ValueError(f"number {number} was there already")
        if number >= self._next + MAX_EARLY:
            raise ValueError(f"number {number} is too far ahead of {self._next}")
        self._early[number] = item
        due = []
        while self._next in self._early:
            due.append(self._early.pop(self._next))
            self._next += 1
        return due
