from collections.abc import Callable

from typing_extensions import Self, disjoint_base

from mpgameserver._core.budget import Share

__all__ = ["Outbox"]

@disjoint_base
class Outbox:
    max_pending: int
    def __new__(cls, payload_limit: int, previous: int = 0) -> Self: ...
    @property
    def share(self) -> Share: ...
    @property
    def settled(self) -> list[tuple[Callable[[bool], object], bool]]: ...
    @property
    def pending(self) -> int: ...
    @property
    def newest(self) -> int: ...
    @property
    def retransmitted(self) -> int: ...
    @property
    def max_message(self) -> int: ...
