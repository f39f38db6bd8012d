from typing import Final, final

from typing_extensions import Self

from mpgameserver._core.channel_queues import ChannelQueues
from mpgameserver._core.endpoint import Endpoint
from mpgameserver._core.grid_reassembly import GridReassembler
from mpgameserver._core.peer_clock import PeerClock
from mpgameserver._core.received_packets import ReceivedPackets
from mpgameserver._core.seqnum import SeqNum
from mpgameserver.wire.protocol2.keys import TrafficSecret

__all__ = ["Endpoint2"]

MAX_EARLY_PACKETS: Final[int]

@final
class Endpoint2(Endpoint):
    peer_idle_timeout: float
    reset_token: bytes | None
    def __new__(
        cls,
        own_secret: TrafficSecret,
        peer_secret: TrafficSecret,
        is_server: bool,
        now: float,
        connection_id: bytes,
        *,
        max_datagram: int = 1200,
    ) -> Self: ...
    @property
    def connection_id(self) -> bytes: ...
    @property
    def clock(self) -> PeerClock | None: ...
    @property
    def last_number(self) -> int: ...
    @property
    def last_is_newest(self) -> bool: ...
    @property
    def path_response(self) -> bytes | None: ...
    def challenge_path(self, challenge: bytes, size: int, now: float) -> bytes | None: ...
    def on_path_changed(self) -> None: ...
    @property
    def received_packets(self) -> ReceivedPackets: ...
    @property
    def reassembler(self) -> GridReassembler: ...
    @property
    def send_queue(self) -> ChannelQueues: ...
    @property
    def setup(self) -> bytes | None: ...
    @property
    def key_phase(self) -> tuple[int, int]: ...
    def send_setup(self, data: bytes) -> None: ...
    def open_channel(
        self,
        channel: int,
        kind: int,
        priority: int = 0,
        window: tuple[int, int] = (0, 0),
        peer_window: tuple[int, int] = (0, 0),
    ) -> None: ...
    def establish(self, now: float) -> None: ...
    def take_channel_message(self, channel: int) -> tuple[SeqNum, bytes]: ...
    def channel_inbox_size(self, channel: int) -> int: ...
    def request_key_update(self) -> None: ...
