from typing_extensions import Self, disjoint_base

from mpgameserver._core.channel_queues import ChannelQueues
from mpgameserver._core.connection_ids import PeerIds
from mpgameserver._core.endpoint import Endpoint
from mpgameserver._core.grid_reassembly import GridReassembler
from mpgameserver._core.path_mtu import PathMtu
from mpgameserver._core.peer_clock import PeerClock
from mpgameserver._core.received_packets import ReceivedPackets
from mpgameserver.wire.protocol2.keys import TrafficSecret

__all__ = ["Endpoint2State"]

@disjoint_base
class Endpoint2State(Endpoint):
    peer_idle_timeout: float
    def __new__(
        cls,
        own_secret: TrafficSecret,
        peer_secret: TrafficSecret,
        is_server: bool,
        now: float,
        connection_id: bytes,
        *,
        max_datagram: int = 1200,
        sealed_before: int = 0,
    ) -> Self: ...
    @property
    def connection_id(self) -> bytes: ...
    @property
    def peer_ids(self) -> PeerIds | None: ...
    @property
    def clock(self) -> PeerClock | None: ...
    @property
    def path_mtu(self) -> PathMtu: ...
    @property
    def last_number(self) -> int: ...
    @property
    def path_response(self) -> bytes | None: ...
    @property
    def received_packets(self) -> ReceivedPackets: ...
    @property
    def reassembler(self) -> GridReassembler: ...
    @property
    def send_queue(self) -> ChannelQueues: ...
