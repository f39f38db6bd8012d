"""Tagged values: what the messages of the handshake are made of.

A value is a 2-byte tag, then the value, big-endian. Integers have the tag 3, 4, 5 or 6 for 1, 2, 4
or 8 signed bytes; byte strings the tag 14, their length as a tagged integer, and the bytes. Each
value has only one form, the shortest, and the reader accepts no other. A signature of the values is
therefore a signature of their bytes.
"""

from __future__ import annotations

from mpgameserver.errors import HandshakeError

__all__ = ["TaggedReader", "encode_bytes", "encode_integer"]

_INTEGER_SIZES = {3: 1, 4: 2, 5: 4, 6: 8}
_INTEGER_TAGS = {size: tag.to_bytes(2, "big") for tag, size in _INTEGER_SIZES.items()}
_BYTES_TAG = (14).to_bytes(2, "big")


def encode_integer(value: int) -> bytes:
    """A tagged integer. Raises ValueError for one of more than 63 bits and a sign."""
    size = _integer_size(value)
    if not size:
        raise ValueError(f"must have at most 63 bits and a sign, not {value!r}")
    return _INTEGER_TAGS[size] + value.to_bytes(size, "big", signed=True)


def encode_bytes(value: bytes) -> bytes:
    """A tagged byte string."""
    return _BYTES_TAG + encode_integer(len(value)) + value


def _integer_size(value: int) -> int:
    """Return the size of an integer in bytes; 0 if 8 are not enough.

    The smallest negative value of each size takes the next size, because sizes go by magnitude.
    """
    bits = abs(value).bit_length()
    return next((size for size in _INTEGER_TAGS if bits < 8 * size), 0)


class TaggedReader:
    """Reads values from the front of a message.

    Every method raises HandshakeError if the bytes are not what it reads; the reader is unusable
    then.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def expect(self, prefix: bytes) -> None:
        """Read exactly these bytes."""
        if self._take(len(prefix)) != prefix:
            raise HandshakeError(f"the message does not continue with {prefix.hex()}")

    def integer(self) -> int:
        """Read an integer."""
        tag = int.from_bytes(self._take(2), "big")
        if tag not in _INTEGER_SIZES:
            raise HandshakeError(f"tag {tag} where an integer is expected")
        size = _INTEGER_SIZES[tag]
        value = int.from_bytes(self._take(size), "big", signed=True)
        if _integer_size(value) != size:
            raise HandshakeError(f"the integer {value} in {size} bytes, not in its shortest form")
        return value

    def byte_string(self) -> bytes:
        """Read a byte string."""
        self.expect(_BYTES_TAG)
        return self._take(self.integer())

    def finish(self) -> None:
        """Raise HandshakeError unless everything was read."""
        left = len(self._data) - self._offset
        if left:
            raise HandshakeError(f"{left} bytes are left over")

    def _take(self, size: int) -> bytes:
        left = len(self._data) - self._offset
        if not 0 <= size <= left:
            raise HandshakeError(f"{size} bytes are announced and {left} are there")
        start = self._offset
        self._offset += size
        return self._data[start : self._offset]
