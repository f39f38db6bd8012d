"""Two connections in memory over a bad link, on a virtual clock that passes over idle frames.

`SoakPair.shake_hands` gets them from a whole handshake with a server, over the same link;
`SoakPair.established` makes them at once, with counters that start where the caller says.
"""

from __future__ import annotations

import math

from support.recordingaead import Seals
from support.turns import turn

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.packet import size_limits
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.netsim import Link, LinkPair
from mpgameserver.server import EventHandler, ServerClient, ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.wire.packet import Packet

FRAME = 1 / 64
WALL_START = 1_700_000_000.0
ADDRESS = ("192.0.2.1", 50_000)
CONNECT_TIMEOUT = 120.0
"""Virtual seconds that a handshake may take on the worst link: each of its four flights is lost
with a chance of a quarter, and the round trip is two seconds."""
HANDSHAKE_TIMEOUT = 30.0


class _Arrival(EventHandler):
    """Remembers the client that connected."""

    client: ServerClient | None = None

    def connect(self, client: ServerClient) -> None:
        self.client = client


class SoakPair:
    """A client's and a server's connection, and the link between them."""

    def __init__(self, client: Connection, server: Connection, link: LinkPair, now: float) -> None:
        self.client, self.server, self.link, self.now = client, server, link, now

    @classmethod
    def established(
        cls,
        link: LinkPair,
        timing: Timing,
        before: int = 0,
        max_datagram: int = 1472,
        seals: Seals | None = None,
    ) -> SoakPair:
        """Two connections that have used `before` packet and message numbers already.

        Their packets are remembered in `seals`, in new ones if None.
        """
        aead = (seals or Seals()).aead(bytes(16))
        options = {
            "max_datagram": max_datagram,
            "packets_before": before,
            "messages_before": before,
        }
        client, server = (
            Connection(Endpoint1(aead, is_server, 0.0, WALL_START, **options), 1, timing)
            for is_server in (False, True)
        )
        return cls(client, server, link, 0.0)

    @classmethod
    def shake_hands(cls, link: LinkPair, timing: Timing) -> SoakPair:
        """Connect to a server over the link; what is in flight then stays on it."""
        arrival, key = _Arrival(), EllipticCurvePrivateKey.new()
        context = ServerContext(arrival, key)
        context.setTempConnectionTimeout(HANDSHAKE_TIMEOUT)
        context.setKeepAliveInterval(timing.keep_alive)
        context.setConnectionTimeout(timing.idle_timeout)
        context.setMessageTimeout(timing.message)
        engine, now = ServerEngine(context), 0.0
        engine.start(now)
        limits = size_limits(Packet.MTU)
        attempt = ClientHandshake(key.getPublicKey(), now, WALL_START)
        attempt.add_path("path", now, limits.payload, limits.datagram)
        while now < CONNECT_TIMEOUT:
            now += FRAME
            for datagram in link.down.receive(now):
                session = attempt.receive("path", datagram, now)
                if session is not None:
                    client = Connection(session.endpoint, session.token, timing)
                    assert arrival.client is not None
                    return cls(client, arrival.client._session.connection, link, now)
            for _, datagram in attempt.datagrams(now):
                link.up.send(datagram, now)
            for datagram in link.up.receive(now):
                engine.dispatcher.receive(datagram, ADDRESS, now, WALL_START + now)
            for outgoing, _ in turn(engine, now):
                link.down.send(outgoing, now)
        raise AssertionError(f"not connected within {CONNECT_TIMEOUT} s")

    def step(self, limit: float) -> None:
        """Go to the next frame in which something is due, but not past `limit`."""
        due = min(self.client.next_timer(), self.server.next_timer(), limit)
        arrival = self.link.next_arrival()
        if arrival is not None:
            due = min(due, arrival)
        self.now = max(self.now + FRAME, math.ceil(due / FRAME) * FRAME)
        self._turn(self.client, self.link.down, self.link.up)
        self._turn(self.server, self.link.up, self.link.down)

    def _turn(self, connection: Connection, incoming: Link, outgoing: Link) -> None:
        """Receive, advance, send."""
        now = self.now
        for datagram in incoming.receive(now):
            if connection.receive(datagram, now) is None and connection.endpoint.ack_is_due():
                self._send(connection, outgoing)
        connection.advance(now)
        self._send(connection, outgoing)
        assert connection.is_live, f"{connection.status.name} at {now:.3f} s"

    def _send(self, connection: Connection, outgoing: Link) -> None:
        now = self.now
        while (datagram := connection.next_datagram(now)) is not None:
            connection.endpoint.on_datagram_sent(len(datagram), now)
            outgoing.send(datagram, now)
