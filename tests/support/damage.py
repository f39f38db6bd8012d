"""Ways to damage a datagram."""

from __future__ import annotations

import random
from collections.abc import Iterator


def prefixes(data: bytes) -> Iterator[bytes]:
    """Yield every prefix but the whole."""
    for size in range(len(data)):
        yield data[:size]


def single_bit_flips(data: bytes) -> Iterator[bytes]:
    """Yield the data with each of its bits flipped in turn, the lowest of each byte first."""
    changed = bytearray(data)
    for place in range(len(data)):
        for bit in range(8):
            changed[place] ^= 1 << bit
            yield bytes(changed)
            changed[place] ^= 1 << bit


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return the data after one to four random cuts, insertions and changes."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            out[place:place] = rng.randbytes(rng.randint(1, 3))
        elif kind == 1:
            del out[place : place + rng.randint(1, 3)]
        elif kind == 2:
            del out[place:]
        elif place < len(out):
            # Tags, lengths and signs change at these values.
            out[place] = rng.choice((0, 1, 3, 4, 5, 6, 14, 127, 128, 255, rng.randrange(256)))
    return bytes(out)
