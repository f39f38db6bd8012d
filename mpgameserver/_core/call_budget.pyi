from collections.abc import Callable
from typing import Final

from typing_extensions import disjoint_base

__all__ = ["CallBudget"]

MAX_CALLS_PER_GO: Final[int]
MAX_CALLS_PER_TURN: Final[int]
GO_TIMEOUT: Final[float]

@disjoint_base
class CallBudget:
    clock: Callable[[], float] | None
    @property
    def left(self) -> int: ...
    def start(self, now: float, until: float = ...) -> None: ...
    def read(self) -> float: ...
    def count(self) -> None: ...
