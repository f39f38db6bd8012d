from collections.abc import Callable
from typing import Any, Protocol, type_check_only

from typing_extensions import Self, disjoint_base

from mpgameserver._core.connection import Connection
from mpgameserver._core.message_rate import MessageRate
from mpgameserver._core.timers import Timed
from mpgameserver.enums import DisconnectReason

__all__ = ["Session"]

@type_check_only
class SessionOwner(Protocol):
    @property
    def now(self) -> float: ...
    def wants_out(self, session: Session) -> None: ...
    def refuse(self, session: Session, callback: Callable[[bool], object]) -> None: ...
    def hand_over_send(
        self,
        session: Session,
        data: bytes,
        retry: int,
        callback: Callable[[bool], object] | None,
        channel: int,
    ) -> None: ...
    def hand_over_disconnect(
        self, session: Session, reason: DisconnectReason, code: int, text: str
    ) -> None: ...

@disjoint_base
class Session(Timed):
    client: Any
    ending: DisconnectReason | None
    reason: DisconnectReason | None
    predecessor: Session | None
    joining: Any
    is_announced: bool
    def __new__(
        cls,
        connection: Connection,
        address: tuple[Any, ...],
        client_key: bytes,
        owner: SessionOwner,
        connection_id: bytes = b"",
    ) -> Self: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def address(self) -> tuple[Any, ...]: ...
    @property
    def client_key(self) -> bytes: ...
    @property
    def connection_id(self) -> bytes: ...
    @property
    def home_newest(self) -> int: ...
    def move(self, address: tuple[Any, ...]) -> None: ...
    @property
    def message_rate(self) -> MessageRate: ...
    @property
    def connected_at(self) -> float: ...
    @property
    def is_waiting(self) -> bool: ...
    @property
    def now(self) -> float: ...
    def send(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int,
        callback: Callable[[bool], object] | None,
        channel: int = 0,
    ) -> None: ...
    def send_here(
        self,
        payload: bytes | bytearray | memoryview,
        retry: int,
        callback: Callable[[bool], object] | None,
        channel: int = 0,
    ) -> None: ...
    def disconnect(self, reason: DisconnectReason, code: int = 0, text: str = "") -> None: ...
    def disconnect_here(self, reason: DisconnectReason, code: int = 0, text: str = "") -> None: ...
    def end(self) -> DisconnectReason: ...
