from typing import NamedTuple

__all__ = ["HeaderFields", "decode_header", "encode_header"]

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
