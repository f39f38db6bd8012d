from typing import Final, final

__all__ = ["ReceiveWindow"]

RECEIVE_WIDTH: Final[int]
MAX_JUMP: Final[int]
FRESH: Final[int]
DUPLICATE: Final[int]
BEHIND: Final[int]
OUT_OF_TIME: Final[int]
TOO_FAR_AHEAD: Final[int]

@final
class ReceiveWindow:
    @property
    def newest(self) -> int: ...
    @property
    def newest_time(self) -> int: ...
    def judge(self, seq: int, time: int) -> int: ...
    def enter(self, seq: int, time: int) -> int: ...
    def ack(self) -> int: ...
    def ack_bits(self) -> int: ...
