"""A `UdpClient` and a server of protocol 2 over the second codec, in virtual time.

The server is `Peer2` behind the second codec's handshake. A hostile one overrides a method.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from support.handshaking2 import SecondServer
from support.wire import WireError
from support.wire2.handshake import Hello
from support.wire2.peer import Peer2
from support.wire2.tables import ORDERED, Channel

from mpgameserver import testing
from mpgameserver.client import UdpClient
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions

NEAR = LinkConditions(latency=0.02)
ADDRESS = ("192.0.2.1", 1474)
WINDOW = 64, 1 << 20
FIRST_SEALED, AFTER_SEALED = 8, 16


def table(**kinds: int) -> list[Channel]:
    """The channels of a server, numbered in the order of the arguments."""
    return [
        Channel(number, kind, WINDOW if kind == ORDERED else None, name)
        for number, (name, kind) in enumerate(kinds.items(), 1)
    ]


class PeerServer(SecondServer):
    """A server that answers every hello, each with the same answer again, and accepts everybody."""

    def __init__(self, channels: list[Channel] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.channels = channels or []
        self.sessions: dict[bytes, Peer2] = {}
        """By connection id."""
        self.ports: dict[bytes, int] = {}
        self.hellos: list[bytes] = []
        self._answers: dict[tuple[int, bytes], bytes] = {}

    @property
    def session(self) -> Peer2:
        """The only session."""
        [session] = self.sessions.values()
        return session

    def receive(self, datagram: bytes, port: int, now: float) -> list[bytes]:
        """Return what is sent at once for a datagram."""
        if FIRST_SEALED <= datagram[0] < AFTER_SEALED:
            session = self.sessions.get(datagram[1:9])
            if session is not None:
                self.ports[datagram[1:9]] = port
                self.take(session, datagram)
            return []
        self.hellos.append(datagram)
        try:
            hello = self.hello(datagram)
        except WireError:
            return []
        return [] if hello is None else self.reply(datagram, hello, now)

    def take(self, session: Peer2, datagram: bytes) -> None:
        """Have a session take a sealed packet."""
        session.receive(datagram)

    def reply(self, datagram: bytes, hello: Hello, now: float) -> list[bytes]:
        """Return what answers a hello."""
        key = hello.form, hello.key
        if key not in self._answers:
            self._answers[key] = self.open(datagram)
        return [self._answers[key]]

    def open(self, datagram: bytes, **fields: Any) -> bytes:
        """Begin a session for a hello; return the answer."""
        connection_id = b"\0" + os.urandom(7)
        reply, (client, server) = self.answer(datagram, connection_id=connection_id, **fields)
        secrets = {"client": client, "server": server}
        self.sessions[connection_id] = Peer2(
            "server", secrets, connection_id, self.channels, takes_key=self.has_kem
        )
        return reply

    def datagrams(self, now: float) -> list[tuple[int, bytes]]:
        """Return what the sessions send, with the port that it goes to."""
        return [
            (self.ports[connection_id], datagram)
            for connection_id, session in self.sessions.items()
            if connection_id in self.ports
            for datagram in session.datagrams(now)
        ]


class _Client(UdpClient):
    """A `UdpClient` on the clock and the links of a world."""

    def __init__(self, network: Any, *arguments: Any, **options: Any) -> None:
        self._network = network
        super().__init__(*arguments, **options)


class PeerWorld:
    """A server and a client, in virtual time."""

    def __init__(
        self,
        server: PeerServer | None = None,
        conditions: LinkConditions = NEAR,
        seed: int | str = 0,
        **options: Any,
    ) -> None:
        self.now = 0.0
        self.wall_now = testing.WALL_START
        self.seed = seed
        self.server = server or PeerServer()
        self.network = testing._LinkNetwork(self, "10.0.0.1", conditions)  # type: ignore[arg-type]
        options.setdefault("server_public_key", self.server.public_key)
        self.client: UdpClient = _Client(self.network, **options)
        self.outcomes: list[bool] = []

    def frame(self) -> None:
        """Let a frame pass: the client's `update`, then the server."""
        self.now += testing.FRAME
        self.wall_now += testing.FRAME
        self.client.update()
        for datagram, (_, port) in self.network.arrivals():
            for reply in self.server.receive(datagram, port, self.now):
                self.network.deliver(reply, port)
        for port, datagram in self.server.datagrams(self.now):
            self.network.deliver(datagram, port)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.frame()

    def run_until(self, condition: Callable[[], object], timeout: float = 10.0) -> None:
        end = self.now + timeout
        while not condition():
            assert self.now < end, f"still waiting: {self.client!r}, seed {self.seed!r}"
            self.frame()

    def attempt(self) -> UdpClient:
        """Let time pass until the client is connected, or is not."""
        self.client.connect(ADDRESS, self.outcomes.append)
        self.run_until(lambda: self.client.status() != ConnectionStatus.CONNECTING)
        self.frame()
        return self.client

    def connect(self) -> UdpClient:
        """Let time pass until the client is connected."""
        client = self.attempt()
        assert client.failure is None, client.failure
        return client
