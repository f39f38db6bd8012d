from collections.abc import Callable
from typing import Any, Protocol, type_check_only

from typing_extensions import Self, disjoint_base

from mpgameserver._core.connection import Connection
from mpgameserver._core.dispatcher import Switchboard

__all__ = ["ClientPump", "Pump", "ServerPump"]

@type_check_only
class Carrier(Protocol):
    @property
    def receive_from(self) -> Callable[[], tuple[bytes, tuple[Any, ...]] | None]: ...
    @property
    def queue(self) -> Callable[[bytes, tuple[Any, ...]], bool]: ...
    @property
    def flush(self) -> Callable[[], bool]: ...

@type_check_only
class ConnectedCarrier(Protocol):
    @property
    def receive(self) -> Callable[[], bytes | None]: ...
    @property
    def queue(self) -> Callable[[bytes], bool]: ...
    @property
    def flush(self) -> Callable[[], bool]: ...

@disjoint_base
class Pump:
    def __new__(cls, source: object, carrier: object, *_: object) -> Self: ...
    @property
    def is_blocked(self) -> bool: ...
    def flush(self) -> None: ...

@disjoint_base
class ServerPump(Pump):
    def __new__(cls, engine: Switchboard, carrier: Carrier, clock: Callable[[], float]) -> Self: ...
    def receive(self, most: int, now: float, wall_now: float) -> None: ...
    def send(self) -> None: ...

@disjoint_base
class ClientPump(Pump):
    def __new__(
        cls,
        connection: Connection,
        carrier: ConnectedCarrier,
        on_drop: Callable[[str, float], object],
    ) -> Self: ...
    def receive(self, most: int, now: float) -> None: ...
    def send(self, now: float) -> None: ...
