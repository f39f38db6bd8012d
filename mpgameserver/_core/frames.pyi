from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = ["FrameFields", "FrameType", "decode_frames", "encode_frames"]

class FrameType(IntEnum):
    PADDING = 0
    PING = 1
    ACK = 2
    WINDOW = 3
    CONNECT = 4
    ACCEPT = 5
    CLOSE = 6
    PATH_CHALLENGE = 7
    PATH_RESPONSE = 8
    NEW_CONNECTION_ID = 9
    RETIRE_CONNECTION_ID = 10
    TIME = 11
    TIME_REPLY = 12
    KEM = 13
    RESERVED = 64
    MESSAGE = 128
    FRAGMENT = 160

MAX_ACK_RANGES: Final[int]
MAX_CLOSE_TEXT: Final[int]
MAX_SETUP_SIZE: Final[int]
MAX_MESSAGE_SIZE: Final[int]
FRAGMENT_UNIT: Final[int]
PATH_DATA_SIZE: Final[int]
CONNECTION_ID_SIZE: Final[int]
RESET_TOKEN_SIZE: Final[int]
CHANNEL_MASK: Final[int]

class FrameFields(NamedTuple):
    type: int
    channel: int = 0
    number: int = 0
    total: int = 0
    offset: int = 0
    data: bytes = b""
    ranges: tuple[tuple[int, int], ...] = ()

def decode_frames(payload: bytes) -> list[FrameFields]: ...
def encode_frames(frames: Sequence[FrameFields]) -> bytes: ...
