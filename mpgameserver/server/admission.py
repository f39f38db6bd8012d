"""Admission of clients: what both protocols share of the way from a datagram to a session.

The first byte of a datagram, and what a hello of version 1 offers, say which protocol it is for.
Cheap checks are made at once; public-key work is done by `step`, a little per turn, after
everything else has been sent.
"""

from __future__ import annotations

from typing import Protocol

from mpgameserver.enums import PacketType
from mpgameserver.server import admission1, admission2, gate
from mpgameserver.server.admission1 import Admission1
from mpgameserver.server.admission2 import Admission2
from mpgameserver.server.blocklist import BlockList
from mpgameserver.server.context import ServerContext, ServerSettings
from mpgameserver.server.cookies import Cookies
from mpgameserver.server.eventlog import EventLog
from mpgameserver.server.gate import Gate
from mpgameserver.server.handshakes import ServerHandshakes
from mpgameserver.server.handshakes2 import ServerHandshakes2
from mpgameserver.server.resets import ResetTokens
from mpgameserver.transport.address import SocketAddress
from mpgameserver.wire.protocol2.hello import has_offer
from mpgameserver.wire.protocol2.limits import MAX_IDLE_TIMEOUT, PeerLimits, own_limits
from mpgameserver.wire.protocol2.ml_kem import find_ml_kem

__all__ = ["Admission"]

WORK_PER_TURN = 1
"""Hellos answered and keys exchanged in one turn at most: 0.15 ms, in which no session is served.
Each more of them adds as much to the round trips of players while there is a flood."""


class Owner(gate.Owner, admission1.Owner, admission2.Owner, Protocol):
    """The part of a server that admission uses."""


class Admission:
    """Refuses handshakes or performs them; `owner` gets the sessions.

    Both protocols do their public-key work within one rate, and take turns when both have some, so
    that a flood of hellos without an offer, for which there is no cookie, leaves half of it to
    those with one.
    """

    def __init__(
        self, owner: Owner, context: ServerContext, log: EventLog, tokens: ResetTokens
    ) -> None:
        self._owner = owner
        self._minimum_protocol = context.minimum_protocol
        self._gate = Gate(owner, log)
        settings = owner.settings
        self.handshakes: ServerHandshakes = ServerHandshakes(
            context.root_key, owner.sessions, settings.limits, context.key_log
        )
        self.handshakes2: ServerHandshakes2 = ServerHandshakes2(
            context.root_key,
            owner.sessions,
            settings.limits,
            Cookies(),
            audience=context.audience,
            own_limits=_own_limits(settings),
            ml_kem=find_ml_kem(),
            bucket=self.handshakes.bucket,
        )
        self._first = Admission1(owner, self._gate, self.handshakes)
        self._second = Admission2(owner, self._gate, self.handshakes2, tokens, context.key_log)
        self._is_firsts_turn = False

    @property
    def is_closed(self) -> bool:
        """True when no client is admitted any more, because the server is stopping."""
        return self._gate.is_closed

    def close(self) -> None:
        """Admit no client from now on, and discard the handshakes in progress."""
        self._gate.is_closed = True
        self.clear()

    @property
    def resets(self) -> int:
        """The number of stateless resets that were sent."""
        return self._second.resets

    # -- datagrams --------------------------------------------------------------------------

    def receive(self, datagram: bytes, address: SocketAddress, kind: int, wall_now: float) -> bool:
        """Process a datagram of protocol 1 that no session has accepted.

        False unless it is a handshake's.
        """
        if kind == PacketType.CLIENT_HELLO:
            if has_offer(datagram) and self._second.receive_offer(datagram, address):
                return True
            if self._minimum_protocol > 1:
                self._owner.drop("old protocol", address)
                return True
        return self._first.receive(datagram, address, kind, wall_now)

    def receive_hello2(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a handshake packet of protocol 2."""
        self._second.receive_hello2(datagram, address)

    def receive_sealed(self, datagram: bytes, address: SocketAddress) -> None:
        """Process a sealed packet of protocol 2 with an id that no session has."""
        self._second.receive_sealed(datagram, address)

    # -- public-key work --------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """True while there is public-key work to do."""
        return self.handshakes.has_work or self.handshakes2.has_work

    def next_work(self) -> float:
        """Return the time of the next public-key work; in the past if there is some now."""
        return min(self.handshakes.next_work(), self.handshakes2.next_work())

    def step(self) -> bool:
        """Do the public-key work of one turn; True if something may have to be sent."""
        done = 0
        while done < WORK_PER_TURN and self._work():
            done += 1
        return done > 0

    def _work(self) -> bool:
        self._is_firsts_turn = not self._is_firsts_turn
        if self._is_firsts_turn:
            return self._first.work() or self._second.work()
        return self._second.work() or self._first.work()

    # -- all handshakes ---------------------------------------------------------------------

    def apply(self, settings: ServerSettings) -> None:
        """Use other settings from now on; nothing is evicted at once."""
        self.handshakes.limit(settings.limits)
        self.handshakes2.limit(settings.limits)
        self.handshakes2.own_limits = _own_limits(settings)

    def expire(self) -> None:
        """Discard the handshakes whose time is over."""
        self.handshakes.expire(self._owner.now - self._owner.settings.handshake_timeout)
        self.handshakes2.expire(self._owner.now)

    def block(self, blocklist: BlockList) -> None:
        """Discard the handshakes of blocked hosts."""
        self.handshakes.block(blocklist)
        self.handshakes2.block(blocklist)

    def clear(self) -> None:
        """Discard all handshakes."""
        self.handshakes.clear()
        self.handshakes2.clear()


def _own_limits(settings: ServerSettings) -> PeerLimits:
    """Return the limits that clients of protocol 2 are told."""
    milliseconds = min(max(int(settings.timing.idle_timeout * 1000), 1), MAX_IDLE_TIMEOUT)
    return own_limits(milliseconds)
