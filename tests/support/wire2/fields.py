"""Integers, byte strings, texts and extension blocks."""

from __future__ import annotations

import struct

from support.wire import WireError

MAX_VARINT = (1 << 62) - 1
VARINT_SIZES = (1, 2, 4, 8)


def pack_varint(value: int, size: int = 0) -> bytes:
    """Return the varint, in as few bytes as it needs or in `size` of them."""
    for code, each in enumerate(VARINT_SIZES):
        bits = 8 * each - 2
        if value < 1 << bits and each >= size:
            return (code << bits | value).to_bytes(each, "big")
    raise ValueError(f"{value} has more than 62 bits, or {size} bytes are no varint")


def pack_bytes8(value: bytes) -> bytes:
    return struct.pack(">B", len(value)) + value


def pack_bytes16(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def pack_bytesv(value: bytes) -> bytes:
    return pack_varint(len(value)) + value


def pack_extensions(extensions: dict[int, bytes]) -> bytes:
    """Return an extension block, in ascending order of types."""
    each = (struct.pack(">H", type_) + pack_bytes16(extensions[type_]) for type_ in extensions)
    return pack_bytes16(b"".join(sorted(each)))


def to_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WireError("text that is not UTF-8") from None


class Reader:
    """Takes values from the front of some bytes; WireError if they end too soon."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def __bool__(self) -> bool:
        """Tell whether anything is left."""
        return bool(self._rest)

    def take(self, size: int) -> bytes:
        if size > len(self._rest):
            raise WireError(f"{size} bytes are expected where {len(self._rest)} are left")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._rest))

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def byte(self) -> int:
        return self.uint(1)

    def varint(self) -> int:
        first = self.byte()
        size = VARINT_SIZES[first >> 6]
        return (first & 0x3F) << 8 * (size - 1) | self.uint(size - 1)

    def bytes8(self) -> bytes:
        return self.take(self.byte())

    def bytes16(self) -> bytes:
        return self.take(self.uint(2))

    def bytesv(self) -> bytes:
        return self.take(self.varint())

    def constant(self, expected: bytes) -> None:
        if self.take(len(expected)) != expected:
            raise WireError(f"another value than {expected.hex()}")

    def extensions(self, sizes: dict[int, set[int]]) -> dict[int, bytes]:
        """Return an extension block; `sizes` are those that a known type may have."""
        block = Reader(self.bytes16())
        found: dict[int, bytes] = {}
        while block:
            type_, value = block.uint(2), block.bytes16()
            if found and type_ <= max(found):
                raise WireError("an extension twice or out of order")
            if len(value) not in sizes.get(type_, {len(value)}):
                raise WireError("a known extension of another length")
            found[type_] = value
        return found

    def end(self) -> None:
        if self._rest:
            raise WireError(f"{len(self._rest)} bytes behind the end")
