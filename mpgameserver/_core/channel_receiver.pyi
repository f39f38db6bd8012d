from enum import IntEnum
from typing import final

from typing_extensions import Self

from mpgameserver._core.grid_reassembly import GridReassembler
from mpgameserver._core.ordered_delivery import OrderedDelivery

__all__ = ["ChannelKind", "ChannelReceiver", "FrameFate"]

class ChannelKind(IntEnum):
    UNORDERED = 0
    ORDERED = 1
    SEQUENCED = 2
    LATEST = 3

class FrameFate(IntEnum):
    TAKEN = 0
    IGNORED = 1
    NO_ROOM = 2
    MALFORMED = 3
    WINDOW_BROKEN = 4

@final
class ChannelReceiver:
    def __new__(
        cls,
        channel: int,
        kind: int,
        reassembler: GridReassembler,
        number: int = 0,
        total: int = 0,
    ) -> Self: ...
    @property
    def channel(self) -> int: ...
    @property
    def kind(self) -> ChannelKind: ...
    @property
    def order(self) -> OrderedDelivery | None: ...
    def arriving(self) -> list[tuple[int, int]]: ...
    def clear(self) -> None: ...
    def inspect_frame(self, data: bytes) -> FrameFate: ...
    def take_frame(self, data: bytes, now: float) -> list[bytes]: ...
