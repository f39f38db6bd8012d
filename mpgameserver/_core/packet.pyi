from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["SizeLimits", "decode_payload", "encode_payload", "size_limits"]

MAX_FRAGMENTS: Final[int]

class SizeLimits(NamedTuple):
    datagram: int
    payload: int
    piece: int
    message: int

def size_limits(mtu: int, ip_udp_header: int = 28) -> SizeLimits: ...
def encode_payload(messages: Sequence[tuple[int, int, bytes]]) -> bytes: ...
def decode_payload(
    payload: bytes, count: int, packet_type: int
) -> list[tuple[int, int, bytes]]: ...
