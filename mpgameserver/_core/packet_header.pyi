from typing import Final, NamedTuple

__all__ = ["HeaderFields", "decode_header", "encode_header"]

HEADER_SIZE: Final[int]
TYPE_OFFSET: Final[int]
NONCE_SIZE: Final[int]
TAG_SIZE: Final[int]
CRC_SIZE: Final[int]
ACK_BITS: Final[int]
MAX_MESSAGES: Final[int]
CLIENT_HELLO: Final[int]
SERVER_HELLO: Final[int]
CHALLENGE_RESP: Final[int]
KEEP_ALIVE: Final[int]
DISCONNECT: Final[int]
APP: Final[int]
APP_FRAGMENT: Final[int]

class HeaderFields(NamedTuple):
    from_server: bool
    time: int
    packet_type: int
    seq: int
    ack: int
    ack_bits: int
    length: int
    count: int  # type: ignore[assignment]

def encode_header(
    from_server: bool,
    time: int,
    packet_type: int,
    seq: int,
    ack: int,
    ack_bits: int,
    length: int,
    count: int,
) -> bytes: ...
def decode_header(datagram: bytes) -> HeaderFields: ...
