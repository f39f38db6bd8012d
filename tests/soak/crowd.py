"""A server and its clients, who play, vanish, come back and disconnect, all over bad links.

Every session has a talk of its own in each direction, whose messages no other talk has. So a
message that reaches the wrong session, or a session of the same client that came later, is found.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from soak.channeltalk import Conversation
from soak.conditions import GAME
from soak.errorlog import ErrorLog
from soak.figures import Figures
from soak.soakpair import FRAME, WALL_START
from soak.talk import Talk
from support.recordingaead import Seals, recorded_sessions
from support.recordingaead2 import Seals2
from support.turns import turn

from mpgameserver._core.packet import size_limits
from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server import EventHandler, ServerClient, ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.stats import ConnectionStats
from mpgameserver.wire.packet import Packet

STAY = 10.0
"""Virtual seconds that a session lasts on average before its client vanishes or disconnects."""
AWAY = 1.0
"""Virtual seconds that a client stays away at most."""
AFTERMATH = 20.0
"""Virtual seconds without new messages in which everything must be over."""

CROWD_LINK = LinkConditions(
    loss=0.1, duplicate=0.1, latency=0.05, jitter=0.03, reorder=0.05, reorder_delay=0.1, replay=0.1
)


@dataclass(frozen=True)
class CrowdCondition:
    """The number of players, the virtual seconds, and the links."""

    name: str
    clients: int
    seconds: float
    link: LinkConditions = CROWD_LINK


def crowds(clients: int, seconds: float) -> Iterator[CrowdCondition]:
    """The one kind of crowd."""
    yield CrowdCondition(f"a server and {clients} clients", clients, seconds)


class Member:
    """One client, at an address of its own that it always comes back to."""

    def __init__(self, number: int, link: LinkConditions, seed: str) -> None:
        self.address = (f"192.0.2.{number // 250 + 1}", 5000 + number % 250)
        self.link = LinkPair(link, seed=seed)
        self.connection: Connection | None = None
        self.acts_at = 0.0
        """When it leaves, or comes back."""
        self._attempt: ClientHandshake | None = None

    @property
    def is_away(self) -> bool:
        """True while it neither is connected nor tries to be."""
        return self.connection is None and self._attempt is None

    def come(self, key: EllipticCurvePrivateKey, now: float) -> None:
        """Begin to connect."""
        limits = size_limits(Packet.MTU)
        self._attempt = ClientHandshake(key.getPublicKey(), now, WALL_START + now)
        self._attempt.add_path("path", now, limits.payload, limits.datagram)

    def _receive_reply(self, datagram: bytes, now: float) -> None:
        assert self._attempt is not None
        session = self._attempt.receive("path", datagram, now)
        if session is not None:
            self.connection = Connection(session.endpoint, session.token, Timing())
            self._attempt = None

    def _attempts(self, now: float) -> list[bytes]:
        """Return what the attempt to connect sends now."""
        if self._attempt is None:
            return []
        return [datagram for _, datagram in self._attempt.datagrams(now)]

    def leave(self, now: float, disconnects: bool) -> None:
        """End the session; the server may not be told."""
        assert self.connection is not None
        disconnect = self.connection.abort(now)
        if disconnect is not None and disconnects:
            self.link.up.send(disconnect, now)
        self.connection = None

    def receive(self, now: float) -> bool:
        """Take what has arrived; True when that has made a connection."""
        was_connected = self.connection is not None
        for datagram in self.link.down.receive(now):
            if self.connection is not None:
                self.connection.receive(datagram, now)
            elif not self.is_away:
                self._receive_reply(datagram, now)
        return self.connection is not None and not was_connected

    def send(self, now: float) -> None:
        """Let leave what should."""
        for datagram in self._attempts(now):
            self.link.up.send(datagram, now)
        if self.connection is not None:
            self.connection.advance(now)
            while (datagram := self.connection.next_datagram(now)) is not None:
                self.connection.endpoint.on_datagram_sent(len(datagram), now)
                self.link.up.send(datagram, now)


class Crowd(EventHandler):
    """The server's handler, and the members; `run` plays.

    What a member's side finds wrong is raised at once; what events and callbacks of the server
    find, the server logs, and it is raised after the frame.
    """

    def __init__(self, condition: CrowdCondition, seed: int) -> None:
        self.now = 0.0
        self.up: dict[int, Talk | Conversation] = {}
        """The messages of clients, by the token of the session."""
        self.down: dict[int, Talk | Conversation] = {}
        self.figures: list[ConnectionStats] = []
        """Of the sessions that are over, from both sides."""
        self._seconds = condition.seconds
        self._seed = f"{seed}/{condition.name}"
        self._rng = random.Random(f"{self._seed}/stay")
        self._key = EllipticCurvePrivateKey.new()
        self._engine = ServerEngine(self._context())
        members = (
            self._member(n, condition.link, f"{self._seed}/{n}") for n in range(condition.clients)
        )
        self._members = {member.address: member for member in members}
        self._log = ErrorLog()

    # -- what depends on the protocol --------------------------------------------------------

    def _context(self) -> ServerContext:
        return ServerContext(self, self._key)

    def _member(self, number: int, link: LinkConditions, seed: str) -> Member:
        return Member(number, link, seed)

    def _talk_down(self, client: ServerClient, seed: str) -> Talk | Conversation:
        return Talk(client.send, GAME, seed)

    def _talk_up(self, connection: Connection, seed: str) -> Talk | Conversation:
        return Talk(connection.send, GAME, seed)

    def _is_listening(self, token: int) -> bool:
        """Return True if the client of a session may be told something."""
        return not self.down[token].has_ended

    def _read(self, connection: Connection) -> None:
        """Check what has arrived at a client."""
        for _, message in connection.endpoint.take_messages():
            self.down[connection.token].take(message)

    # -- the server's side ------------------------------------------------------------------

    def connect(self, client: ServerClient) -> None:
        """Begin to talk to a client."""
        seed = f"{self._seed}/down {len(self.down)}"
        self.down[client.token] = self._talk_down(client, seed)

    def disconnect(self, client: ServerClient) -> None:
        """A session is over, which must be because its client has left."""
        self.figures.append(client.stats)
        assert self.down[client.token].has_ended, f"a session ended by itself: {client.reason}"

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        """Check that the message is one of this session."""
        self.up[client.token].take(msg)

    # -- the play ---------------------------------------------------------------------------

    def run(self) -> None:
        """Play for the time of the condition, then see everything to its end."""
        with self._log:
            self._engine.start(self.now)
            self._play_until(self._seconds, self._act)
            self._play_until(self._seconds + AFTERMATH, lambda member: None)
        for talk in (*self.up.values(), *self.down.values()):
            talk.check()
        here = {m.connection.token for m in self._members.values() if m.connection is not None}
        assert here == {client.token for client in self._engine.clients}
        for member in self._members.values():
            if member.connection is not None:
                self.figures.append(ConnectionStats.of(member.connection.endpoint, self.now))
        self.figures += [client.stats for client in self._engine.clients]

    def _play_until(self, end: float, act: Callable[[Member], None]) -> None:
        while self.now < end:
            self.now += FRAME
            for member in self._members.values():
                act(member)
                self._frame_of(member)
            if act == self._act:
                for client in self._engine.clients:
                    if self._is_listening(client.token):
                        self.down[client.token].say()
            for datagram, address in turn(self._engine, self.now):
                self._members[address].link.down.send(datagram, self.now)
            self._log.check()

    def _act(self, member: Member) -> None:
        """Talk, or leave, or come back."""
        connection = member.connection
        if connection is None:
            if member.is_away and self.now >= member.acts_at:
                member.come(self._key, self.now)
        elif self.now >= member.acts_at:
            self.up[connection.token].has_ended = self.down[connection.token].has_ended = True
            self.figures.append(ConnectionStats.of(connection.endpoint, self.now))
            member.leave(self.now, disconnects=self._rng.random() < 0.5)
            self._collect(connection)
            member.acts_at = self.now + self._rng.uniform(0.0, AWAY)
        else:
            self.up[connection.token].say()

    def _frame_of(self, member: Member) -> None:
        if member.receive(self.now):
            assert member.connection is not None
            token = member.connection.token
            self.up[token] = self._talk_up(member.connection, f"{self._seed}/up {len(self.up)}")
            member.acts_at = self.now + self._rng.expovariate(1 / STAY)
        member.send(self.now)
        if member.connection is not None:
            assert member.connection.is_live, f"a client was {member.connection.status.name}"
            self._collect(member.connection)
        for datagram in member.link.up.receive(self.now):
            self._engine.dispatcher.receive(
                datagram, member.address, self.now, WALL_START + self.now
            )

    def _collect(self, connection: Connection) -> None:
        """Read what has arrived at a client, and call what is settled."""
        self._read(connection)
        for callback, acked in connection.take_completed():
            callback(acked)


def soak_crowd(condition: CrowdCondition, seed: int) -> Figures:
    """Run one condition; raises AssertionError, which names it, as `soak` does."""
    with recorded_sessions() as seals:
        return run_crowd(Crowd(condition, seed), condition, seed, seals)


def run_crowd(crowd: Crowd, condition: CrowdCondition, seed: int, seals: Seals | Seals2) -> Figures:
    """Let a crowd play, and return its figures."""
    began = time.perf_counter()
    try:
        crowd.run()
    except AssertionError as error:
        raise AssertionError(
            f"{condition.name}, seed {seed}, at {crowd.now:.3f} s: {error}"
        ) from error
    talks = (*crowd.up.values(), *crowd.down.values())
    return Figures(
        name=f"{condition.name}, {len(crowd.up)} sessions",
        messages=sum(talk.said for talk in talks),
        reliable=sum(talk.reliable for talk in talks),
        payload=sum(talk.bytes_arrived for talk in talks),
        packets=seals.sealed,
        retransmitted=sum(stats.retransmitted for stats in crowd.figures),
        duplicates=sum(s.repeated_messages + s.drops["repeated"] for s in crowd.figures),
        virtual=crowd.now,
        wall=time.perf_counter() - began,
    )
