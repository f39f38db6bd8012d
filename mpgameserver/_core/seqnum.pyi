from typing import Final

from typing_extensions import Self

__all__ = ["SeqNum", "expand_number", "wire_number"]

RING_SIZE: Final[int]
HALF_RING: Final[int]

def wire_number(number: int) -> int: ...
def expand_number(wire: int, near: int) -> int: ...

class SeqNum(int):
    """An integer on the ring 1...65535; 0 means "none yet".

    `+` and `-` stay on the ring. `<` and `>` compare by age: a is greater than b when it is
    newer, that is, when the shortest step from b to a is forward. Equality is that of integers.

    Raises ValueError for a value outside 0...65535.
    """

    def __new__(cls, value: int = 0) -> Self: ...
    @classmethod
    def maximum(cls) -> Self:
        """Return the last number before the ring starts again at 1."""

    def diff(self, other: int) -> int:
        """Return the shortest signed step from `other` to this number, from -32767 to 32767."""

    def newer_than(self, other: int) -> bool:
        """Return True if the shortest step from `other` to this number is forward."""

    def __add__(self, step: int) -> Self: ...
    def __radd__(self, step: int) -> Self: ...
    def __sub__(self, step: int) -> Self: ...
    def __lt__(self, other: int) -> bool: ...
    def __le__(self, other: int) -> bool: ...
    def __gt__(self, other: int) -> bool: ...
    def __ge__(self, other: int) -> bool: ...
