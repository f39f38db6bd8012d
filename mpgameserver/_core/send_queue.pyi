from collections.abc import Callable
from typing import final

from typing_extensions import Self

from mpgameserver._core.budget import Share

__all__ = ["SendQueue"]

@final
class SendQueue:
    max_pending: int
    def __new__(cls, payload_limit: int, previous: int = 0) -> Self: ...
    @property
    def share(self) -> Share: ...
    @property
    def completed(self) -> list[tuple[Callable[[bool], object], bool]]: ...
    @property
    def pending(self) -> int: ...
    @property
    def newest(self) -> int: ...
    @property
    def retransmitted(self) -> int: ...
    @property
    def max_message(self) -> int: ...
    def add(
        self, data: bytes, retry: int = -1, callback: Callable[[bool], object] | None = None
    ) -> int: ...
