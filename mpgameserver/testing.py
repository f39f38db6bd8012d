"""A server and its clients in virtual time: test a game without sockets and without waiting.

A `World` runs your handler on a server of its own and has any number of clients, each a `UdpClient`
on a simulated link. Time passes only in `World.run`, as fast as the machine allows.

>>> from mpgameserver import EventHandler
>>> class Echo(EventHandler):
...     def handle_message(self, client, seqnum, msg=b""):
...         client.send_guaranteed(msg)
>>> world = World(Echo(), LinkConditions(loss=0.2, latency=0.05), seed=7)
>>> client = world.connect()
>>> client.send_guaranteed(b"hello")
>>> world.run(3.0)
>>> [message for _, message in client.getMessages()]
[b'hello']

The seed decides what the links lose, delay and damage, in every run the same. Keys and tokens are
random nevertheless, as the encryption is real.
"""

from __future__ import annotations

import errno
import math
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from mpgameserver.client.network import Network
from mpgameserver.client.resolver import Resolver
from mpgameserver.client.udpclient import UdpClient
from mpgameserver.enums import ConnectionStatus
from mpgameserver.errors import RefusedError
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server.client import ServerClient
from mpgameserver.server.context import ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EVENTS, EventHandler, refuse_coroutines
from mpgameserver.server.stats import ServerStats
from mpgameserver.transport.address import SocketAddress

__all__ = ["FRAME", "World"]

FRAMES_PER_SECOND = 120
"""Twice as many as a game draws, so that what arrives waits for a fraction of the game's frame."""
FRAME = 1 / FRAMES_PER_SECOND
"""Seconds that pass at once: each client has one turn in them, and then the server."""
WALL_START = 1_700_000_000.0
"""The Unix time at which a world begins; handshakes compare the wall clocks of both sides."""

_SERVER_ADDRESS = ("192.0.2.1", 1474)  # of TEST-NET-1 (RFC 5737)
_FIRST_PORT = 49152  # of the ephemeral ports (RFC 6335)
_PERFECT = LinkConditions()


class _LinkSocket:
    """The client's end of a link, with the methods of a connected UDP socket."""

    family = socket.AF_INET

    def __init__(self, network: _LinkNetwork, port: int) -> None:
        self.address = (network.host, port)
        self.is_closed = False
        self._network = network
        self._arrived: deque[bytes] = deque()
        self.relink()

    def relink(self) -> None:
        """Begin with fresh links, of the conditions that its client has now."""
        network = self._network
        seed = f"{network.world.seed}/{self.address[0]}:{self.address[1]}"
        self.links = LinkPair(network.conditions, seed=seed)

    def connect(self, address: SocketAddress) -> None:
        """Do nothing: a link leads to the world's server only."""

    def getsockname(self) -> SocketAddress:
        return self.address

    def fileno(self) -> int:
        return -1

    def recvfrom(self, size: int) -> tuple[bytes, SocketAddress]:
        if not self._arrived:
            self._arrived.extend(self.links.down.receive(self._network.now()))
        if not self._arrived:
            raise BlockingIOError(errno.EAGAIN, "no datagram has arrived")
        return self._arrived.popleft(), _SERVER_ADDRESS

    def send(self, datagram: bytes) -> int:
        self.links.up.send(datagram, self._network.now())
        return len(datagram)

    def close(self) -> None:
        self.is_closed = True


class _LinkNetwork(Network):
    """The clock of a world, and the sockets of one of its clients."""

    def __init__(self, world: World, host: str, conditions: LinkConditions) -> None:
        self.world = world
        self.host = host
        self.conditions = conditions
        self.sockets: dict[int, _LinkSocket] = {}
        """By port; those that are closed are kept until what they sent has arrived."""
        self._next_port = _FIRST_PORT

    def now(self) -> float:
        return self.world.now

    def wall_now(self) -> float:
        return self.world.wall_now

    def resolver(self, host: str, port: int) -> Resolver:
        """Resolve any name to the world's server: nothing else is there."""
        return Resolver(*_SERVER_ADDRESS)

    def new_socket(self, family: socket.AddressFamily) -> socket.socket:
        sock = self.sockets[self._next_port] = _LinkSocket(self, self._next_port)
        self._next_port += 1
        return cast(socket.socket, sock)

    def wait(self, client: object, seconds: float) -> None:
        """Let a frame pass: `waitForDisconnect` looks after each."""
        self.world.frame()

    def arrivals(self) -> list[tuple[bytes, SocketAddress]]:
        """Take the datagrams that have arrived at the server, with their senders."""
        arrived: list[tuple[bytes, SocketAddress]] = []
        for port, sock in list(self.sockets.items()):
            arrived += [(datagram, sock.address) for datagram in sock.links.up.receive(self.now())]
            if sock.is_closed and not sock.links.up.in_flight:
                del self.sockets[port]
        return arrived

    def deliver(self, datagram: bytes, port: int) -> None:
        """Put a datagram of the server on the link of a port; it is lost if the port is closed."""
        sock = self.sockets.get(port)
        if sock is not None and not sock.is_closed:
            sock.links.down.send(datagram, self.now())


class _WorldClient(UdpClient):
    """A `UdpClient` on the clock and the links of a world."""

    def __init__(self, network: _LinkNetwork, options: dict[str, Any]) -> None:
        self._network: _LinkNetwork = network
        super().__init__(network.world.context.root_key.getPublicKey(), **options)


class _WatchedEvents(EventHandler):
    """The events of a handler; what one of them raises is kept."""

    def __init__(self, events: EventHandler) -> None:
        self.raised: list[Exception] = []
        for name in EVENTS:
            setattr(self, name, self._watched(events, name))

    def _watched(self, events: EventHandler, name: str) -> Callable[..., object]:
        def event(*arguments: object, **channel: object) -> object:
            try:
                return getattr(events, name)(*arguments, **channel)
            except RefusedError:  # what `authenticate` says is not a mistake
                raise
            except Exception as error:
                self.raised.append(error)
                raise

        return event


class World:
    """A server that runs a handler, and its clients, in virtual time.

    The server serves from the start: the handler has already had its `starting` event.

    Parameters:
        handler: an EventHandler, any object with some of its events, or a ServerContext, for a game
            that has settings or needs the context.
        conditions: the conditions of both directions of each client's link; perfect by default.
        seed: decides everything that is random about the links.

    Raises:
        TypeError: `handler` is not a handler, or has events that are coroutine functions.
        RuntimeError: another server runs the context.
    """

    def __init__(
        self,
        handler: object,
        conditions: LinkConditions = _PERFECT,
        seed: int | str = 0,
    ) -> None:
        self.now: float = 0.0
        """The time that has passed, in seconds."""
        self.seed: int | str = seed
        """The seed of the links."""
        self.context: ServerContext = (
            handler if isinstance(handler, ServerContext) else ServerContext(handler)
        )
        """The server's context: its settings, its clients, `broadcast` and `shutdown`."""
        self._conditions = conditions
        self._clients: dict[str, _WorldClient] = {}  # by host
        self._is_in_frame = False
        refuse_coroutines(self.context.events, self.context.handler)
        self.context.settings.timing.check()
        self._events = _WatchedEvents(self.context.events)
        self._engine = ServerEngine(
            self.context, handler=self._events, local=lambda: _SERVER_ADDRESS
        )
        self.context.attach(self)
        self._engine.start(self.now)

    def __repr__(self) -> str:
        clients = f"{len(self.clients)} of {len(self._clients)} clients connected"
        return f"<World seed {self.seed!r}, {self.now:.3f} s, {clients}>"

    # -- clients ----------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """The server's (host, port); any other address leads a client to it as well."""
        return _SERVER_ADDRESS

    def client(self, conditions: LinkConditions | None = None, **options: Any) -> UdpClient:
        """Return a new client, on a host of its own, that has not begun to connect.

        It is a `UdpClient` with the server's public key. `run` calls its `update`; calling it
        yourself does no harm.

        Parameters:
            conditions: the conditions of its link; the world's by default.
            options: further arguments for the `UdpClient`, such as a credential. It has the
                channels and the audience of the context unless they say otherwise.
        """
        number = len(self._clients) + 1
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        network = _LinkNetwork(self, host, conditions or self._conditions)
        client = _WorldClient(network, self._defaults() | options)
        self._clients[host] = client
        return client

    def _defaults(self) -> dict[str, Any]:
        """Return the arguments of a client without which this server would refuse it."""
        context = self.context
        channels = [channel for _, channel in context.channels]
        return {
            **({"channels": channels} if channels else {}),
            **({"audience": context.audience} if context.audience else {}),
        }

    def connect(self, conditions: LinkConditions | None = None, **options: Any) -> UdpClient:
        """Let time pass until a new client is connected, and return it.

        Parameters:
            conditions: the conditions of its link; the world's by default.
            options: further arguments for the `UdpClient`, as for `client`.

        Raises:
            AssertionError: it cannot connect; the message names the seed.
        """
        client = self.client(conditions, **options)
        client.connect(self.address)
        self.run_until(lambda: client.status() != ConnectionStatus.CONNECTING)
        if client.failure is not None:
            raise AssertionError(f"no connection: {client.failure.text} {self!r}")
        return client

    def set_conditions(self, client: UdpClient, conditions: LinkConditions) -> None:
        """Change the conditions of a client's link; datagrams in flight on it are lost.

        Raises:
            ValueError: the client is not of this world.
        """
        network = self._network_of(client)
        network.conditions = conditions
        for sock in network.sockets.values():
            sock.relink()

    def server_client(self, client: UdpClient) -> ServerClient:
        """Return the ServerClient that the handler's events get for a client.

        Raises:
            ValueError: the client is not connected.
        """
        for candidate in self.clients:
            if candidate.token == client.token():
                return candidate
        raise ValueError(f"the server has no session with {client!r}: {self!r}")

    def _network_of(self, client: UdpClient) -> _LinkNetwork:
        for candidate in self._clients.values():
            if candidate is client:
                return candidate._network
        raise ValueError(f"client must be a client of {self!r}, not {client!r}")

    # -- what the context asks of a server --------------------------------------------------

    @property
    def clients(self) -> tuple[ServerClient, ...]:
        """The clients that are connected, as the handler knows them."""
        return self._engine.clients

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the server's statistics."""
        return self._engine.stats

    def wake(self) -> None:
        """Do nothing: the server has a turn in every frame."""

    # -- time -------------------------------------------------------------------------------

    @property
    def wall_now(self) -> float:
        """The Unix time of the world, in seconds."""
        return WALL_START + self.now

    def run(self, seconds: float) -> None:
        """Let time pass.

        Parameters:
            seconds: 0 or more; rounded up to frames of `FRAME` seconds.

        Raises:
            ValueError: `seconds` is below 0 or infinite.
            RuntimeError: it was called from an event or a callback.
            Exception: whatever an event of the handler raises, at the end of its frame.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"seconds must be 0 or more, and finite, not {seconds!r}")
        for _ in range(math.ceil(round(seconds / FRAME, 6))):
            self.frame()

    def run_until(self, condition: Callable[[], object], timeout: float = 10.0) -> None:
        """Let time pass until `condition()` is true; it is called before each frame.

        Parameters:
            condition: a function without arguments.
            timeout: the longest time, in seconds.

        Raises:
            AssertionError: the condition is still false after `timeout`; the message names the
                seed.
            Exception: whatever `run` raises.
        """
        end = self.now + timeout
        while not condition():
            if self.now >= end:
                raise AssertionError(f"not true within {timeout:g} s: {condition!r}, {self!r}")
            self.frame()

    def frame(self) -> None:
        """Let one frame pass: each client's `update`, then one tick of the server.

        Raises:
            Exception: whatever `run` raises.
        """
        if self._is_in_frame:
            raise RuntimeError("time cannot pass within an event or a callback")
        self._is_in_frame = True
        try:
            self.now = self._next_frame()
            clients = list(self._clients.values())
            for client in clients:
                client.update()
            arrivals = [each for client in clients for each in client._network.arrivals()]
            if not self._engine.is_stopped:
                self._serve(arrivals)
        finally:
            self._is_in_frame = False
        raised, self._events.raised = self._events.raised, []
        if raised:
            raise raised[0]

    def _next_frame(self) -> float:
        """The frame after `now`, without the rounding errors of a sum."""
        return (math.floor(self.now / FRAME + 1e-6) + 1) / FRAMES_PER_SECOND

    def _serve(self, arrivals: Iterable[tuple[bytes, SocketAddress]]) -> None:
        """Give the server its turns at one moment: it reads once, then works and sends."""
        for datagram, address in arrivals:
            if self._engine.dispatcher.receive(datagram, address, self.now, self.wall_now):
                self._send()
        self._turn()
        while self._engine.next_timer() <= self.now:
            self._turn()

    def _turn(self) -> None:
        self._engine.advance(self.now)
        if self._send() and self._engine.step_handshakes(self.now):
            self._send()
        if self._engine.is_stopped:
            self.context.detach()

    def _send(self) -> bool:
        """Put all that the server has to send on its links; True when all has left."""
        while (leaving := self._engine.dispatcher.next_datagram(self.now)) is not None:
            datagram, (host, port, *_) = leaving
            self._clients[host]._network.deliver(datagram, port)
        return True
