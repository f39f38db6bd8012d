from typing import Final

from typing_extensions import Self, disjoint_base

__all__ = ["DuplicateFilter"]

MESSAGE_FILTER_WIDTH: Final[int]

@disjoint_base
class DuplicateFilter:
    def __new__(cls, width: int = 32768) -> Self: ...
    @property
    def width(self) -> int: ...
    @property
    def newest(self) -> int: ...
    def contains(self, number: int) -> bool: ...
    def insert(self, number: int) -> bool: ...
