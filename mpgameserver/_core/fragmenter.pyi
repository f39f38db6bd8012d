from typing import Final

from typing_extensions import disjoint_base

from mpgameserver._core.budget import Share

__all__ = ["Reassembler", "split"]

MAX_BYTES: Final[int]
MAX_MESSAGES: Final[int]
COST_OF_PIECE: Final[int]
REASSEMBLY_TIMEOUT: Final[float]

def split(number: int, message: bytes, payload_limit: int) -> list[bytes]: ...

@disjoint_base
class Reassembler:
    @property
    def share(self) -> Share: ...
    def clear(self) -> int: ...
    @property
    def held_bytes(self) -> int: ...
    @property
    def discarded(self) -> int: ...
    def __len__(self) -> int: ...
    def expire(self, now: float) -> float: ...
    def add(self, message: bytes, message_number: int, now: float) -> tuple[int, bytes] | None: ...
