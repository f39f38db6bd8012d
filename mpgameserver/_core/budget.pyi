from typing import Final, final

from typing_extensions import Self

__all__ = ["Budget", "Share"]

GUARANTEED: Final[int]
ITEM_COST: Final[int]

@final
class Budget:
    limit: int
    def __new__(cls, limit: int, wider: Budget | None = None) -> Self: ...
    @property
    def held(self) -> int: ...

@final
class Share:
    def __new__(cls, guaranteed: int = 0) -> Self: ...
    @property
    def held(self) -> int: ...
    def join(self, budget: Budget) -> None: ...
    def admits(self, size: int) -> bool: ...
    def add(self, size: int) -> None: ...
