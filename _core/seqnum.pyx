"""Sequence numbers: 16 bits, on a ring of the 65,535 values 1...65535, 0 for "none yet".

The arithmetic is in `seqnum.pxd`, inline for the other compiled modules; this is its Python
interface.
"""

from libc.stdint cimport uint16_t

from operator import index

__all__ = ["SeqNum", "expand_number", "wire_number"]

cdef uint16_t _wire(object value) except? 0:
    try:
        return <uint16_t?>value
    except OverflowError:
        raise ValueError(f"sequence number must be 0...65535, not {value!r}") from None


def wire_number(number):
    """Return the wire form, 1...65535, of an absolute number (1, 2, 3, ... without wrapping)."""
    if index(number) < 1:
        raise ValueError(f"absolute sequence number must be 1 or more, not {number!r}")
    return to_wire(number)


def expand_number(wire, near):
    """Return the absolute number with wire form `wire` (1...65535) that is nearest to `near`.

    `near` is 0 if nothing is known yet.
    """
    if not 1 <= index(wire) <= RING_SIZE:
        raise ValueError(f"wire sequence number must be 1...65535, not {wire!r}")
    if index(near) < 0:
        raise ValueError(f"absolute sequence number must be 0 or more, not {near!r}")
    return expand(wire, near)


class SeqNum(int):
    """An integer on the ring 1...65535; 0 means "none yet".

    `+` and `-` stay on the ring. `<` and `>` compare by age: a is greater than b when it is
    newer, that is, when the shortest step from b to a is forward. Equality is that of integers.

    Raises ValueError for a value outside 0...65535.
    """

    __slots__ = ()

    def __new__(cls, value=0):
        if not 0 <= index(value) <= RING_SIZE:
            raise ValueError(f"sequence number must be 0...65535, not {value!r}")
        return int.__new__(cls, value)

    @classmethod
    def maximum(cls):
        """Return the last number before the ring starts again at 1."""
        return cls(RING_SIZE)

    def diff(self, other):
        """Return the shortest signed step from `other` to this number, from -32767 to 32767."""
        return ring_diff(_wire(self), _wire(other))

    def newer_than(self, other):
        """Return True if the shortest step from `other` to this number is forward."""
        return ring_diff(_wire(self), _wire(other)) > 0

    def __add__(self, step):
        return type(self)(ring_add(_wire(self), step % RING_SIZE))

    __radd__ = __add__

    def __sub__(self, step):
        return type(self)(ring_add(_wire(self), -step % RING_SIZE))

    def __lt__(self, other):
        return ring_diff(_wire(self), _wire(other)) < 0

    def __le__(self, other):
        return ring_diff(_wire(self), _wire(other)) <= 0

    def __gt__(self, other):
        return ring_diff(_wire(self), _wire(other)) > 0

    def __ge__(self, other):
        return ring_diff(_wire(self), _wire(other)) >= 0

    def __repr__(self):
        return f"SeqNum({int(self)})"

    def __str__(self):
        return int.__repr__(self)
