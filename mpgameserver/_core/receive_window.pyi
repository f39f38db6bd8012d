from typing import Final

from typing_extensions import disjoint_base

__all__ = ["ReceiveWindow"]

RECEIVE_WIDTH: Final[int]
MAX_JUMP: Final[int]
ARRIVALS: Final[tuple[str, ...]]

@disjoint_base
class ReceiveWindow:
    @property
    def newest(self) -> int: ...
    @property
    def newest_time(self) -> int: ...
    @property
    def ack(self) -> int: ...
    @property
    def ack_bits(self) -> int: ...
    def arrival(self, seq: int, time: int) -> str: ...
    def receive(self, seq: int, time: int) -> bool: ...
