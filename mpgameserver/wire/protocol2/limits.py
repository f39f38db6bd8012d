"""The limits of each side that the other has to know: its patience, and its largest datagram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpgameserver.errors import HandshakeError
from mpgameserver.wire.packet import Packet

__all__ = ["DEFAULT_LIMITS", "LEAST_DATAGRAM", "MAX_IDLE_TIMEOUT", "PeerLimits", "own_limits"]

LEAST_DATAGRAM = 1200
"""Bytes that every path must carry (RFC 9000, section 14)."""

_IDLE_TIMEOUT, _LARGEST_DATAGRAM = 2, 3  # extension types
_IDLE_TIMEOUT_SIZE, _LARGEST_DATAGRAM_SIZE = 4, 2
MAX_IDLE_TIMEOUT = (1 << 8 * _IDLE_TIMEOUT_SIZE) - 1
"""Milliseconds that the extension can tell: 49 days."""


@dataclass(frozen=True)
class PeerLimits:
    """The limits of one side, where they are not the defaults told in an extension block."""

    idle_timeout: int = 5000
    """Milliseconds."""
    largest_datagram: int = 1472
    """Bytes; the default is what an MTU of 1500 leaves over IPv4."""

    def extensions(self) -> dict[int, bytes]:
        """The extensions that tell them, by type."""
        found = {}
        if self.idle_timeout != PeerLimits.idle_timeout:
            found[_IDLE_TIMEOUT] = self.idle_timeout.to_bytes(_IDLE_TIMEOUT_SIZE, "big")
        if self.largest_datagram != PeerLimits.largest_datagram:
            found[_LARGEST_DATAGRAM] = self.largest_datagram.to_bytes(_LARGEST_DATAGRAM_SIZE, "big")
        return found

    @classmethod
    def from_extensions(cls, extensions: Mapping[int, bytes]) -> PeerLimits:
        """The limits in an extension block. Raises HandshakeError for values out of range."""
        limits = cls(
            _read(extensions, _IDLE_TIMEOUT, _IDLE_TIMEOUT_SIZE, cls.idle_timeout),
            _read(extensions, _LARGEST_DATAGRAM, _LARGEST_DATAGRAM_SIZE, cls.largest_datagram),
        )
        if limits.idle_timeout == 0 or limits.largest_datagram < LEAST_DATAGRAM:
            raise HandshakeError(f"limits out of range: {limits}")
        return limits


DEFAULT_LIMITS = PeerLimits()
"""Those of a side that tells none."""


def own_limits(idle_timeout: int = PeerLimits.idle_timeout) -> PeerLimits:
    """Return the limits of this side; `idle_timeout` is in milliseconds.

    Datagrams of any size are received. The peer is told of more than the default where the MTU
    says that the network carries them.
    """
    return PeerLimits(idle_timeout, max(PeerLimits.largest_datagram, Packet.MAX_SIZE))


def _read(extensions: Mapping[int, bytes], kind: int, size: int, default: int) -> int:
    value = extensions.get(kind, default.to_bytes(size, "big"))
    if len(value) != size:
        raise HandshakeError(f"extension {kind} of {len(value)} bytes, not {size}")
    return int.from_bytes(value, "big")
