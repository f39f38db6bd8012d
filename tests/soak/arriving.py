"""An attempt to connect with protocol 2, over one path, without a socket."""

from __future__ import annotations

from soak.channeltalk import CHANNELS

from mpgameserver._core.packet import size_limits
from mpgameserver.channels import ChannelTable
from mpgameserver.client.handshake2 import ClientHandshake2, VerifiedAnswer
from mpgameserver.client.setup2 import SessionSetup
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePublicKey
from mpgameserver.wire.packet import Packet

__all__ = ["Arriving"]

TABLE = ChannelTable(CHANNELS)


class Arriving:
    """Does as an `Attempt` does on its only socket; `connection` is the session once accepted."""

    def __init__(
        self, key: EllipticCurvePublicKey, timing: Timing, now: float, wall_now: float
    ) -> None:
        self.connection: Connection | None = None
        self._timing = timing
        self._handshake = ClientHandshake2(key, now, wall_now, only_version_2=True)
        limits = size_limits(Packet.MTU)
        self._max_datagram = limits.datagram
        self._handshake.add_path("path", now, limits.payload, limits.datagram)
        self._setups: list[SessionSetup] = []

    def receive(self, datagram: bytes, now: float) -> None:
        """Take what has arrived."""
        for setup in reversed(self._setups):
            if setup.receive(datagram, now) is None:
                self._setups.remove(setup)
                self._setups.append(setup)
                self.connection = setup.connection if setup.is_accepted else None
                return
        if self._has_opened:
            return
        answer = self._handshake.receive("path", datagram, now)
        if isinstance(answer, VerifiedAnswer):
            self._setups.append(
                SessionSetup(answer, b"", TABLE, self._timing, self._max_datagram, now)
            )

    def datagrams(self, now: float) -> list[bytes]:
        """Return what is to be sent now."""
        leaving: list[bytes] = []
        if not self._has_opened:
            leaving += [datagram for _, datagram in self._handshake.datagrams(now)]
        if self._setups:
            leaving += self._setups[-1].datagrams(now)
        return leaving

    @property
    def _has_opened(self) -> bool:
        return bool(self._setups) and self._setups[-1].has_opened
