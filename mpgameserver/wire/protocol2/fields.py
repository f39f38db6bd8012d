"""The fields that messages of protocol 2 are made of, written and read."""

from __future__ import annotations

from collections.abc import Mapping

from mpgameserver.errors import HandshakeError

__all__ = ["FieldReader", "bytes8", "bytes16", "extension_block", "varint"]

_MAX_VARINT = (1 << 62) - 1


def bytes8(value: bytes) -> bytes:
    """A byte string preceded by its length as a byte. Raises OverflowError above 255 bytes."""
    return len(value).to_bytes(1, "big") + value


def bytes16(value: bytes) -> bytes:
    """A byte string preceded by its length as 2 bytes. Raises OverflowError above 65,535 bytes."""
    return len(value).to_bytes(2, "big") + value


def varint(value: int) -> bytes:
    """A variable-length integer in the fewest bytes. Raises ValueError outside 0...2**62 - 1."""
    if not 0 <= value <= _MAX_VARINT:
        raise ValueError(f"must be 0...2**62 - 1, not {value!r}")
    for exponent in range(3):
        if value < 1 << (8 << exponent) - 2:
            break
    else:
        exponent = 3
    size = 1 << exponent
    return (exponent << 8 * size - 2 | value).to_bytes(size, "big")


def extension_block(extensions: Mapping[int, bytes]) -> bytes:
    """The block of these extensions, by type. Raises OverflowError if it would be too long."""
    return bytes16(
        b"".join(kind.to_bytes(2, "big") + bytes16(extensions[kind]) for kind in sorted(extensions))
    )


class FieldReader:
    """Reads fields off the front of a byte string.

    Every method raises HandshakeError if the bytes are not what it reads; the reader is then of no
    further use.
    """

    __slots__ = ("_data", "offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset: int = 0
        """The number of bytes that were read."""

    def take(self, size: int) -> bytes:
        """Read `size` bytes."""
        end = self.offset + size
        if end > len(self._data):
            raise HandshakeError(
                f"{size} bytes expected at {self.offset}, {len(self._data) - self.offset} are left"
            )
        value = self._data[self.offset : end]
        self.offset = end
        return value

    def integer(self, size: int) -> int:
        """Read an integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """Read a variable-length integer."""
        first = self.integer(1)
        rest = (1 << (first >> 6)) - 1
        return (first & 0x3F) << 8 * rest | self.integer(rest)

    def bytes8(self) -> bytes:
        """Read a byte string that is preceded by its length as a byte."""
        return self.take(self.integer(1))

    def bytes16(self) -> bytes:
        """Read a byte string that is preceded by its length as 2 bytes."""
        return self.take(self.integer(2))

    def text(self, most: int) -> str:
        """Read a `bytes8` of at most `most` bytes of UTF-8."""
        value = self.bytes8()
        if len(value) > most:
            raise HandshakeError(f"a text of {len(value)} bytes, at most {most} are allowed")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise HandshakeError(f"a text that is not UTF-8: {error}") from None

    def extensions(self) -> dict[int, bytes]:
        """Read an extension block, whose types ascend."""
        block = FieldReader(self.bytes16())
        found: dict[int, bytes] = {}
        newest = -1
        while block.has_more():
            kind = block.integer(2)
            if kind <= newest:
                raise HandshakeError(f"extension {kind} after {newest}")
            found[kind] = block.bytes16()
            newest = kind
        return found

    def has_more(self) -> bool:
        """Return True until all bytes were read."""
        return self.offset < len(self._data)

    def finish(self) -> None:
        """Check that all bytes were read."""
        if self.has_more():
            raise HandshakeError(f"{len(self._data) - self.offset} bytes left over")
