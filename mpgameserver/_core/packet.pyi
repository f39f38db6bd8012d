from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["SizeLimits", "decode_payload", "encode_payload", "size_limits"]

SINGLE_OVERHEAD: Final[int]
SHARED_OVERHEAD: Final[int]
FRAGMENT_HEADER: Final[int]
PREFERRED_FRAGMENT: Final[int]
MAX_FRAGMENTS: Final[int]
MIN_MTU: Final[int]
IPV4_UDP_HEADER: Final[int]
IPV6_UDP_HEADER: Final[int]

class SizeLimits(NamedTuple):
    datagram: int
    payload: int
    fragment: int
    message: int

def size_limits(mtu: int, ip_udp_header: int = 28) -> SizeLimits: ...
def encode_payload(messages: Sequence[tuple[int, int, bytes]]) -> bytes: ...
def decode_payload(
    payload: bytes, count: int, packet_type: int
) -> list[tuple[int, int, bytes]]: ...
