"""Players of protocol 2 in a server's world: the second codec's handshake, and the second peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from support.handshaking2 import SecondClient
from support.serverworld import Recorder, World
from support.wire import WireError
from support.wire2 import handshake
from support.wire2.peer import Peer2
from support.wire2.tables import Channel

from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server.client import ServerClient

HELLO_INTERVAL = 0.25


class ChannelRecorder(Recorder):
    """A recorder that asks for channels: `heard` has the channel and the message of each."""

    def __init__(self, **on: Callable[..., object]) -> None:
        super().__init__(**on)
        self.heard: list[tuple[str, bytes]] = []

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        self.heard.append((channel, bytes(msg)))
        super().handle_message(client, seqnum, msg)


class Player2:
    """A client without a socket, which takes the first answer that it gets.

    `forms` are those of the hellos that it sends at each try.
    """

    def __init__(
        self,
        world: World,
        channels: Sequence[Channel] = (),
        credential: bytes = b"",
        *,
        address: tuple[Any, ...] | None = None,
        forms: Sequence[int] = (1,),
        audience: str = "",
        conditions: LinkConditions | None = None,
    ) -> None:
        number = len(world.players) + 1
        self.address = address or (f"10.0.{number // 250}.{number % 250 + 1}", 5000)
        self.hellos = SecondClient(audience)
        self.forms, self.cookie = forms, b""
        self.peer: Peer2 | None = None
        self.is_held = False
        """It sends nothing in its session: that is the test's."""
        self.connection_id = b""
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.links = LinkPair(conditions or world._conditions, seed=f"{world.seed}/{number}")
        self._world = world
        self._channels, self._credential = list(channels), credential
        self._next_hello = 0.0
        world.players.append(self)  # type: ignore[arg-type]

    @property
    def is_in(self) -> bool:
        """True once the server has accepted it."""
        return self.peer is not None and self.peer.is_open

    @property
    def closed(self) -> tuple[int, str] | None:
        return None if self.peer is None else self.peer.closed

    @property
    def messages(self) -> list[tuple[int, bytes]]:
        """The channel and the message of each that was delivered."""
        return [] if self.peer is None else [(each[0], each[2]) for each in self.peer.delivered]

    def frame(self) -> None:
        """Receive and send."""
        now = self._world.now
        for datagram in self.links.down.receive(now):
            self.received.append(datagram)
            self._receive(datagram)
        for datagram in self._leaving(now):
            self.sent.append(datagram)
            self.links.up.send(datagram, now)

    def _receive(self, datagram: bytes) -> None:
        if datagram[0] != 4:
            if self.peer is not None:
                self.peer.receive(datagram)
        elif self.peer is None:
            try:
                reply = handshake.at_client(datagram, list(self.hellos.hellos.values()))
            except WireError:  # for another client at this address
                return
            if isinstance(reply, handshake.ServerHello):
                self.begin(reply)
            elif not isinstance(reply, bytes):
                self.cookie, self._next_hello = reply[0].cookie, 0.0

    def begin(self, reply: handshake.ServerHello) -> None:
        """Begin the session of an answer."""
        client, server = self.hellos.secrets(reply)
        self.connection_id = reply.parts.connection_id
        secrets = {"client": client, "server": server}
        self.peer = Peer2("client", secrets, self.connection_id, self._channels, self._credential)

    def _leaving(self, now: float) -> list[bytes]:
        if self.peer is not None:
            return [] if self.is_held else self.peer.datagrams(now)
        if now < self._next_hello:
            return []
        self._next_hello = now + HELLO_INTERVAL
        return [self.hellos.datagram(form, self.cookie) for form in self.forms]

    def join(self) -> Player2:
        """Let time pass until the server has accepted it, and return it."""
        for _ in range(1200):
            if self.is_in:
                return self
            self._world.frame()
        raise AssertionError("the player did not get in")
