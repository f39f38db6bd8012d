from collections.abc import Callable
from typing import Final, final

__all__ = ["CallBudget"]

MAX_CALLS_PER_BATCH: Final[int]
MAX_CALLS_PER_TURN: Final[int]
BATCH_TIMEOUT: Final[float]

@final
class CallBudget:
    clock: Callable[[], float] | None
    @property
    def left(self) -> int: ...
    def begin(self, now: float, until: float) -> int: ...
    def read(self) -> float: ...
    def count_call(self) -> int: ...
