from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol, final, type_check_only

from typing_extensions import Self, disjoint_base

from mpgameserver._core.connection import Connection
from mpgameserver._core.dispatcher import Dispatcher

__all__ = ["ClientPump", "Phase", "Pump", "ServerPump"]

class Phase(IntEnum):
    IDLE = 0
    RECEIVE = 1
    HANDLER = 2
    SEND = 3

@type_check_only
class DatagramIO(Protocol):
    @property
    def receive_from(self) -> Callable[[], tuple[bytes, tuple[Any, ...]] | None]: ...
    @property
    def queue(self) -> Callable[[bytes, tuple[Any, ...]], bool]: ...
    too_large: int
    @property
    def flush(self) -> Callable[[], bool]: ...

@type_check_only
class ConnectedDatagramIO(Protocol):
    @property
    def receive(self) -> Callable[[], bytes | None]: ...
    @property
    def queue(self) -> Callable[[bytes], bool]: ...
    too_large: int
    @property
    def flush(self) -> Callable[[], bool]: ...

@type_check_only
class ConnectionObserver(Protocol):
    def sent(self, datagram: bytes) -> None: ...
    def arrived(self, datagram: bytes, reason: str | None) -> None: ...

@disjoint_base
class Pump:
    def __new__(cls, source: object, io: object, *_: object) -> Self: ...
    @property
    def is_blocked(self) -> bool: ...

@final
class ServerPump(Pump):
    def __new__(
        cls, dispatcher: Dispatcher, io: DatagramIO, clock: Callable[[], float]
    ) -> Self: ...
    def receive(self, most: int, now: float, wall_now: float) -> None: ...
    def send(self) -> None: ...

@final
class ClientPump(Pump):
    def __new__(
        cls,
        connection: Connection,
        io: ConnectedDatagramIO,
        on_drop: Callable[[str, float], object],
        observer: ConnectionObserver | None = None,
    ) -> Self: ...
    @property
    def observer(self) -> ConnectionObserver | None: ...
    def receive(self, most: int, now: float) -> None: ...
    def send(self, now: float) -> None: ...
