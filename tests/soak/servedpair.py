"""A client and a whole server of protocol 2 in memory, over a bad link, on a virtual clock.

While they talk the client moves, in turn by a NAT that gives it another port and by another
interface, where what was in flight is lost; and both sides update their keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

from soak.arriving import Arriving
from soak.channeltalk import CHANNELS
from soak.errorlog import ErrorLog
from soak.soakpair import CONNECT_TIMEOUT, FRAME, HANDSHAKE_TIMEOUT, WALL_START
from support.turns import turn

from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server import EventHandler, ServerClient, ServerContext
from mpgameserver.server.engine import ServerEngine

TICK = 10.0
"""Seconds between two `update` events, of which the soak needs none."""
LEAST_MOVE = 10.0
MOVE_LATENCIES = 40
"""Virtual seconds between two moves of the client: so many, or so many latencies of the link."""
KEYS_PER_MOVE = 2
"""Key updates for each move; in turn each side asks for one."""
SECOND_READ = 4
"""Datagrams that a server sends before it reads the next one, at most."""

Address = tuple[str, int]
Handle = Callable[[str, bytes], object]


class _Events(EventHandler):
    """Remembers the client, and passes its messages on."""

    def __init__(self) -> None:
        self.client: ServerClient | None = None
        self.handle: Handle | None = None

    def connect(self, client: ServerClient) -> None:
        assert self.client is None, "a second session"
        self.client = client

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        assert self.handle is not None, "a message that was not said yet"
        self.handle(channel, msg)


class ServedPair:
    """The client's connection and the server's, the link between them, and what disturbs them.

    `handle` gets the channel and the message of what arrives at the server, whose errors `log` has.
    """

    def __init__(
        self, conditions: LinkConditions, timing: Timing, seed: str, log: ErrorLog
    ) -> None:
        self.now = 0.0
        self.moves = 0
        """Moves that the server has followed."""
        self.client: Connection
        self.server: Connection
        self._conditions, self._seed = conditions, seed
        self._events, self._log = _Events(), log
        self._ports = count(50_000)
        self._address: Address = ("192.0.2.1", next(self._ports))
        self.link = LinkPair(conditions, seed=f"{seed}/0")
        self._key = EllipticCurvePrivateKey.new()
        self._timing = timing
        self._engine = self._serve(timing)
        self._connect()
        self._interval = max(LEAST_MOVE, MOVE_LATENCIES * conditions.latency)
        self._disturb_at = self.now + self._interval / KEYS_PER_MOVE
        self._disturbed = 0

    @property
    def handle(self) -> Handle | None:
        """The function that gets what arrives at the server."""
        return self._events.handle

    @handle.setter
    def handle(self, handle: Handle) -> None:
        self._events.handle = handle

    def send_down(
        self,
        channel: int,
        payload: bytes,
        retry: int,
        callback: Callable[[bool], object] | None,
    ) -> None:
        """Send a message of the server on the channel with a number, as its handler does."""
        assert self._events.client is not None
        self._events.client._send_on(channel, payload, retry, callback)

    def _serve(self, timing: Timing) -> ServerEngine:
        context = ServerContext(self._events, self._key, channels=CHANNELS)
        context.setInterval(TICK)
        context.setTempConnectionTimeout(HANDSHAKE_TIMEOUT)
        context.setKeepAliveInterval(timing.keep_alive)
        context.setConnectionTimeout(timing.idle_timeout)
        context.setMessageTimeout(timing.message)
        engine = ServerEngine(context)
        engine.start(self.now)
        return engine

    # -- the handshake ----------------------------------------------------------------------

    def _connect(self) -> None:
        """Connect over the link; what is in flight then stays on it."""
        arriving = Arriving(self._key.getPublicKey(), self._timing, self.now, WALL_START)
        while self._events.client is None or arriving.connection is None:
            assert self.now < CONNECT_TIMEOUT, f"not connected within {CONNECT_TIMEOUT} s"
            self.now += FRAME
            for datagram in self.link.down.receive(self.now):
                arriving.receive(datagram, self.now)
            for datagram in arriving.datagrams(self.now):
                self.link.up.send(datagram, self.now)
            self._turn_of_server()
        self.client = arriving.connection
        self.server = self._events.client._session.connection

    # -- the time ---------------------------------------------------------------------------

    def step(self, limit: float) -> None:
        """Go to the next frame in which something is due, but not past `limit`."""
        due = min(self.client.next_timer(), self._engine.next_timer(), limit, self._disturb_at)
        arrival = self.link.next_arrival()
        if arrival is not None:
            due = min(due, arrival)
        self.now = max(self.now + FRAME, math.ceil(due / FRAME) * FRAME)
        if self.now >= self._disturb_at:
            self._disturb()
        self._turn_of_client()
        self._turn_of_server()
        self._log.check()
        for connection in (self.client, self.server):
            assert connection.status == ConnectionStatus.CONNECTED, connection.status.name

    def _turn_of_client(self) -> None:
        for datagram in self.link.down.receive(self.now):
            if self.client.receive(datagram, self.now) is None and (
                self.client.endpoint.ack_is_due()
            ):
                self._send()
        self.client.advance(self.now)
        self._send()

    def _send(self) -> None:
        while (datagram := self.client.next_datagram(self.now)) is not None:
            self.client.endpoint.on_datagram_sent(len(datagram), self.now)
            self.link.up.send(datagram, self.now)

    def _turn_of_server(self) -> None:
        dispatcher, now = self._engine.dispatcher, self.now
        for datagram in self.link.up.receive(now):
            if dispatcher.receive(datagram, self._address, now, WALL_START + now):
                for _ in range(SECOND_READ):
                    self._deliver(dispatcher.next_datagram(now))
        for leaving in turn(self._engine, now):
            self._deliver(leaving)

    def _deliver(self, leaving: tuple[bytes, Address] | None) -> None:
        """Put what the server sends on the link, unless the client is not there any more."""
        if leaving is not None and leaving[1] == self._address:
            self.link.down.send(leaving[0], self.now)

    # -- what disturbs ----------------------------------------------------------------------

    def _disturb(self) -> None:
        """Ask one side for a key update; and after so many of them move the client."""
        self._disturb_at = self.now + self._interval / KEYS_PER_MOVE
        self._disturbed += 1
        side = self.client if self._disturbed % 2 else self.server
        side.endpoint.request_key_update()
        if self._disturbed % KEYS_PER_MOVE:
            return
        self.moves += self.is_followed and self._disturbed > KEYS_PER_MOVE
        self._address = ("192.0.2.1", next(self._ports))
        if self._disturbed % (2 * KEYS_PER_MOVE) == 0:
            self.link = LinkPair(self._conditions, seed=f"{self._seed}/{self._disturbed}")

    def be_undisturbed(self) -> None:
        """Leave path and keys as they are."""
        self._disturb_at = math.inf

    @property
    def is_followed(self) -> bool:
        """True while the server has the client's address for the session's."""
        assert self._events.client is not None
        return self._events.client._session.address == self._address

    @property
    def disturbances(self) -> tuple[int, int]:
        """The moves that the server should have followed, and the key updates asked for."""
        return max(self._disturbed // KEYS_PER_MOVE - 1, 0), self._disturbed
