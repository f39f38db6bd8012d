"""A fuzzer's bytes, read as a script.

Every input is a script: values are taken from the front, one or two bytes each, and where the
bytes have run out every value is 0. So a fuzzer that inserts, removes or changes a byte changes
one step, and no input is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


class Script:
    """The values of one input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def is_over(self) -> bool:
        """True when all bytes are read."""
        return self._place >= len(self._data)

    def turns(self, most: int) -> Iterator[None]:
        """So many turns at most, and none any more when all bytes are read."""
        for _ in range(most):
            if self.is_over:
                break
            yield

    def below(self, bound: int) -> int:
        """A value from 0 to `bound` - 1, of one byte where that is enough, else of two or four."""
        size = 1 if bound <= 1 << 8 else 2 if bound <= 1 << 16 else 4
        return int.from_bytes(self._take(size).ljust(size, b"\0"), "big") % bound

    def pick(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[self.below(len(choices))]

    def chance(self, one_in: int) -> bool:
        """True once in so many times, and not when the bytes have run out."""
        return self.below(one_in) == one_in - 1

    def bytes(self, most: int) -> bytes:
        """Up to so many bytes, as they stand in the input."""
        return self._take(self.below(most + 1))

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self._take(len(self._data))

    def _take(self, size: int) -> bytes:
        start = self._place
        self._place = min(start + size, len(self._data))
        return self._data[start : self._place]
