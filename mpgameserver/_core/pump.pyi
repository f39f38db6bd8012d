from collections.abc import Callable
from typing import Any, Protocol, type_check_only

from typing_extensions import disjoint_base

from mpgameserver._core.switchboard import Switchboard

__all__ = ["Pump"]

@type_check_only
class Carrier(Protocol):
    @property
    def receive_from(self) -> Callable[[], tuple[bytes, tuple[Any, ...]] | None]: ...
    @property
    def queue(self) -> Callable[[bytes, tuple[Any, ...]], bool]: ...
    @property
    def flush(self) -> Callable[[], bool]: ...

@disjoint_base
class Pump:
    def __init__(
        self, engine: Switchboard, carrier: Carrier, clock: Callable[[], float]
    ) -> None: ...
    @property
    def is_blocked(self) -> bool: ...
    def receive(self, most: int, now: float, wall_now: float) -> None: ...
    def send(self) -> None: ...
    def flush(self) -> None: ...
