from typing import Final, final

from typing_extensions import Self

__all__ = ["DuplicateFilter"]

CHANNEL_FILTER_WIDTH: Final[int]
MESSAGE_FILTER_WIDTH: Final[int]

@final
class DuplicateFilter:
    def __new__(cls, width: int = 32768) -> Self: ...
    @property
    def width(self) -> int: ...
    @property
    def newest(self) -> int: ...
    def contains(self, number: int) -> bool: ...
    def insert(self, number: int) -> bool: ...
