from typing import final

from typing_extensions import Self

from mpgameserver._core.aead import AnyAead
from mpgameserver._core.endpoint import Endpoint
from mpgameserver._core.fragmenter import Reassembler
from mpgameserver._core.receive_window import ReceiveWindow
from mpgameserver._core.send_queue import SendQueue

__all__ = ["Endpoint1"]

@final
class Endpoint1(Endpoint):
    def __new__(
        cls,
        aead: AnyAead,
        is_server: bool,
        now: float,
        wall_start: float,
        *,
        max_datagram: int = 1472,
        packets_before: int = 0,
        messages_before: int = 0,
        hello_received: int = 0,
    ) -> Self: ...
    @property
    def received_packets(self) -> ReceiveWindow: ...
    @property
    def reassembler(self) -> Reassembler: ...
    @property
    def send_queue(self) -> SendQueue: ...
    @property
    def challenge(self) -> bytes | None: ...
    @property
    def path_is_narrow(self) -> bool: ...
    def queue_challenge_response(self, payload: bytes) -> None: ...
