"""A server and its clients in memory, over seeded links, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mpgameserver import testing
from mpgameserver._core.packet import size_limits
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.limits import Limits
from mpgameserver.testing import FRAME
from mpgameserver.wire.packet import Packet

ROOT_KEY = EllipticCurvePrivateKey.new()
PERFECT = LinkConditions()
DEAD = LinkConditions(loss=1.0)

ADDRESS = ("192.0.2.1", 5000)
"""That of somebody who is no player."""


class Recorder(EventHandler):
    """Writes down every event but `update`; `on` says what else an event does."""

    def __init__(self, **on: Callable[..., object]) -> None:
        self.on = on
        self.events: list[tuple[Any, ...]] = []
        self.updates: list[float] = []
        self.clients: list[ServerClient] = []

    def _record(self, name: str, *arguments: Any) -> None:
        self.events.append((name, *arguments))
        if name in self.on:
            self.on[name](*arguments)

    def starting(self) -> None:
        self._record("starting")

    def shutdown(self) -> None:
        self._record("shutdown")

    def connect(self, client: ServerClient) -> None:
        self.clients.append(client)
        self._record("connect", client)

    def disconnect(self, client: ServerClient) -> None:
        assert client.reason is not None
        self._record("disconnect", client)

    def update(self, delta_t: float) -> None:
        self.updates.append(delta_t)
        if "update" in self.on:
            self.on["update"](delta_t)

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self._record("handle_message", client, bytes(msg))

    def full(self, addr: tuple[str, int]) -> None:
        self._record("full", addr)

    def named(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of the events of that name."""
        return [event[1:] for event in self.events if event[0] == name]

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in self.named("handle_message")]

    @property
    def reasons(self) -> list[str]:
        """Reasons why clients left, in the order in which they did."""
        return [client.reason.value for (client,) in self.named("disconnect")]


class World(testing.World):
    """A `mpgameserver.testing.World` whose turns and datagrams a test can see and make."""

    def __init__(
        self,
        handler: EventHandler | None = None,
        conditions: LinkConditions = PERFECT,
        seed: int = 0,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        self.handler = handler or Recorder()
        self.players: list[Player] = []
        self.sent: list[tuple[bytes, tuple[Any, ...]]] = []
        self.is_blocked = False
        self.wakes = 0
        super().__init__(ServerContext(self.handler, ROOT_KEY, limits, **options), conditions, seed)

    @property
    def engine(self) -> ServerEngine:
        return self._engine

    @engine.setter
    def engine(self, engine: ServerEngine) -> None:
        self._engine = engine

    def wake(self) -> None:
        self.wakes += 1

    def frame(self) -> None:
        """Let a frame pass; what an event raises is logged, and is not the test's end."""
        self.now += FRAME
        for player in self.players:
            player.frame()
        self.serve(
            (datagram, player.address)
            for player in self.players
            for datagram in player.links.up.receive(self.now)
        )

    def say(self, *datagrams: bytes, address: tuple[Any, ...] = ADDRESS) -> list[bytes]:
        """Return the replies to datagrams from an address."""
        before = len(self.sent)
        self.serve([(datagram, address) for datagram in datagrams])
        return [datagram for datagram, to in self.sent[before:] if to == address]

    def serve(self, arrivals: Iterable[tuple[bytes, tuple[Any, ...]]] = ()) -> None:
        """The turns of the server's loop at one moment: read once, then work and send."""
        self._serve(arrivals)

    def turn(self) -> None:
        """One turn of the server's loop in which nothing arrives."""
        self._turn()

    def flush(self) -> list[tuple[bytes, tuple[Any, ...]]]:
        """Put what the server sends on its links; what it was."""
        before = len(self.sent)
        self._send()
        return self.sent[before:]

    def _send(self) -> bool:
        while not self.is_blocked:
            item = self.engine.dispatcher.next_datagram(self.now)
            if item is None:
                break
            self.sent.append(item)
            for player in self.players:
                if player.address == item[1]:
                    player.links.down.send(item[0], self.now)
        return not self.is_blocked

    # Players.

    def player(self, *address: Any, **options: Any) -> Player:
        """A player that has just begun to connect, by default from a host of its own."""
        number = len(self.players) + 1
        default = (f"10.0.{number // 250}.{number % 250 + 1}", 5000)
        player = Player(self, address or default, f"{self.seed}/{number}", **options)
        self.players.append(player)
        return player

    def join(self, *address: Any, **options: Any) -> Player:
        """A player that is connected."""
        player = self.player(*address, **options)
        for _ in range(1200):
            if player.connection is not None:
                return player
            self.frame()
        raise AssertionError("the player did not get in")

    def client_of(self, player: Player) -> ServerClient:
        """Return the handler's client of a player."""
        [client] = [c for c in self.engine.clients if c.token == player.token]
        return client


class Player:
    """A client without a socket."""

    def __init__(
        self,
        world: World,
        address: tuple[Any, ...],
        seed: str,
        conditions: LinkConditions | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.address = address
        self.messages: list[bytes] = []
        self.sent: list[bytes] = []
        self.drops: list[str] = []
        self.connection: Connection | None = None
        self._world = world
        self._timing = timing or Timing()
        self._seed = seed
        self.links = LinkPair(conditions or world._conditions, seed=seed)
        limits = size_limits(Packet.MTU)
        self.handshake = ClientHandshake(ROOT_KEY.getPublicKey(), world.now, world.wall_now)
        self.handshake.add_path("path", world.now, limits.payload, limits.datagram)

    @property
    def token(self) -> int:
        return 0 if self.connection is None else self.connection.token

    def relink(self, conditions: LinkConditions) -> None:
        """Change what its links do from now on; what is in flight is lost."""
        self.links = LinkPair(conditions, seed=self._seed)

    def send(self, message: bytes, retry: int = -1) -> None:
        assert self.connection is not None
        self.connection.send(message, retry)

    def frame(self) -> None:
        """Receive, advance, send."""
        now = self._world.now
        for datagram in self.links.down.receive(now):
            self._receive(datagram, now)
        leaving = (
            [datagram for _, datagram in self.handshake.datagrams(now)]
            if self.connection is None
            else self._connection_datagrams(self.connection, now)
        )
        for datagram in leaving:
            self.sent.append(datagram)
            self.links.up.send(datagram, now)

    def _receive(self, datagram: bytes, now: float) -> None:
        if self.connection is not None:
            reason = self.connection.receive(datagram, now)
            if reason is not None:
                self.drops.append(reason)
            self.messages += [m for _, m in self.connection.endpoint.take_messages()]
            return
        session = self.handshake.receive("path", datagram, now)
        if session is not None:
            self.connection = Connection(session.endpoint, session.token, self._timing)
            self.messages += [m for _, m in session.endpoint.take_messages()]

    def _connection_datagrams(self, connection: Connection, now: float) -> list[bytes]:
        connection.advance(now)
        leaving = []
        while (datagram := connection.next_datagram(now)) is not None:
            connection.endpoint.on_datagram_sent(len(datagram), now)
            leaving.append(datagram)
        return leaving
