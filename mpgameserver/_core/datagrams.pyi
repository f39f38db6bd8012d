from typing import Any, Final

from typing_extensions import Self, disjoint_base

__all__ = [
    "HAS_RUNS",
    "IS_NATIVE",
    "TELLS_LOCAL",
    "DatagramSocket",
    "forget_addresses",
    "goes_whole",
]

_Options = tuple[tuple[int, int, int], ...]

IS_NATIVE: Final[bool]
HAS_RUNS: Final[bool]
TELLS_LOCAL: Final[bool]
RECEIVE_SIZE: Final[int]
MAX_READ_ERRORS: Final[int]
MAX_KNOWN_ADDRESSES: Final[int]

def forget_addresses() -> None: ...
def goes_whole(datagram: bytes) -> bool: ...

@disjoint_base
class DatagramSocket:
    @property
    def refused(self) -> bool: ...
    @property
    def send_errors(self) -> dict[int, int]: ...
    unreported_error: int
    too_large: int
    def __new__(
        cls,
        sock: Any,
        *,
        runs: bool = True,
        local: bool = False,
        modes: tuple[_Options, _Options] | None = None,
    ) -> Self: ...
    def receive(self) -> bytes | None: ...
    def receive_from(self) -> tuple[bytes, tuple[Any, ...]] | None: ...
    def spin(self, seconds: float) -> bool: ...
    def queue(self, datagram: bytes, address: tuple[Any, ...] | None = None) -> bool: ...
    def flush(self) -> bool: ...
    def close(self) -> int: ...
    def send(self, datagram: bytes, address: tuple[Any, ...] | None = None) -> bool: ...
