from collections.abc import Callable

from typing_extensions import disjoint_base

from mpgameserver._core.budget import Share

__all__ = ["Outbox"]

@disjoint_base
class Outbox:
    max_pending: int
    @property
    def share(self) -> Share: ...
    @property
    def completed(self) -> list[tuple[Callable[[bool], object], bool]]: ...
    @property
    def pending(self) -> int: ...
    @property
    def retransmitted(self) -> int: ...
    @property
    def max_message(self) -> int: ...
    def add(
        self, data: bytes, retry: int = -1, callback: Callable[[bool], object] | None = None
    ) -> int: ...
