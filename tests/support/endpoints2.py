"""Sessions of protocol 2 without a handshake: two sides over a seeded link, in virtual time.

A side is the package's endpoint or the second peer, so that each can stand against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from support.wire2 import keys
from support.wire2.frames import Accept, Ack, Connect, Frame, ack_of, pack_all, unpack_all
from support.wire2.packets import ReceivingKeys, open_packet, seal
from support.wire2.peer import Peer2
from support.wire2.tables import AcceptData as AcceptTable
from support.wire2.tables import Channel, pack_accept_data, pack_connect_data
from support.wire2.tables import ConnectData as ConnectTable

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver.connection import Connection, Timing
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.wire.protocol2.kem_frames import LateDecapsulation, LateEncapsulation
from mpgameserver.wire.protocol2.keys import TrafficSecret
from mpgameserver.wire.protocol2.limits import LEAST_DATAGRAM
from mpgameserver.wire.protocol2.setup import (
    AcceptData,
    ChannelKind,
    ConnectData,
    DeclaredChannel,
    Window,
)

SECRETS = {"client": bytes(range(32)), "server": bytes(range(32, 64))}
CONNECTION_ID = bytes.fromhex("00c0c1c2c3c4c5c6")
TICK = 1 / 64
CHAT, POSITION, SCORE, LOOT = 1, 2, 3, 200
WINDOW = Window(40, 60_000)
CHANNELS = (
    DeclaredChannel(CHAT, ChannelKind.ORDERED, "chat", WINDOW),
    DeclaredChannel(POSITION, ChannelKind.SEQUENCED, "position"),
    DeclaredChannel(SCORE, ChannelKind.LATEST, "score"),
    DeclaredChannel(LOOT, ChannelKind.UNORDERED, "loot"),
)
SECOND_CHANNELS = [
    Channel(
        each.channel,
        each.kind,
        (WINDOW.number, WINDOW.total) if each.kind is ChannelKind.ORDERED else None,
        each.name,
    )
    for each in CHANNELS
]
"""The same for the second codec."""
RELIABLE = (0, CHAT, LOOT)
RESET_TOKEN = b"t" * 16


def new_endpoint2(
    is_server: bool = False,
    now: float = 0.0,
    max_datagram: int = LEAST_DATAGRAM,
    sealed_before: int = 0,
) -> Endpoint2:
    """An endpoint at the start of a session; it searches for what its path carries up to a size."""
    own, other = ("server", "client") if is_server else ("client", "server")
    return Endpoint2(
        TrafficSecret(SECRETS[own]),
        TrafficSecret(SECRETS[other]),
        is_server,
        now,
        connection_id=CONNECTION_ID,
        max_datagram=max_datagram,
        sealed_before=sealed_before,
    )


class IdSource:
    """Issues ids for the server of a pair, and remembers them."""

    def __init__(self) -> None:
        self.issued = [CONNECTION_ID]
        self.retired: list[bytes] = []

    def issue(self) -> tuple[bytes, bytes]:
        number = len(self.issued)
        self.issued.append(CONNECTION_ID[:7] + bytes([number]))
        return self.issued[-1], bytes([number]) * 16

    def retire(self, connection_id: bytes) -> None:
        self.retired.append(connection_id)


class Side:
    """The package's side of a session, and an owner that does what a client or a server does."""

    def __init__(
        self,
        is_server: bool,
        now: float = 0.0,
        credential: bytes = b"",
        exchange: LateDecapsulation | LateEncapsulation | None = None,
        sealed_before: int = 0,
        *,
        max_datagram: int = LEAST_DATAGRAM,
        issues_ids: bool = False,
    ) -> None:
        self.is_server = is_server
        self.endpoint = new_endpoint2(is_server, now, max_datagram, sealed_before)
        if exchange is not None:
            self.endpoint.exchange_keys(exchange)
        self.connection = Connection(self.endpoint, 1, Timing())
        self.credential: bytes | None = None
        self.ids = IdSource() if issues_ids else None
        self.delivered: list[tuple[int, int, bytes]] = []
        """The messages received: channel, number and message."""
        self.drops: list[str] = []
        self.now = now
        self._left: list[bytes] = []
        if not is_server:
            self.endpoint.send_setup(ConnectData(credential, CHANNELS).encode())

    @property
    def is_open(self) -> bool:
        return self.endpoint.established

    @property
    def closed(self) -> tuple[int, str] | None:
        return self.connection.close_reason

    @property
    def is_done(self) -> bool:
        """True when nothing that is to be acked is left."""
        return self.connection.pending == 0 and self.endpoint.send_queue.share.held == 0

    def say(self, channel: int, message: bytes) -> None:
        self.connection.send_on(channel, message)

    def close(self, code: int = 0, text: str = "") -> None:
        self.connection.disconnect(self.now, code, text)

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram; what is to be sent before the next one is among the next `datagrams`."""
        reason = self.connection.receive(datagram, now)
        if reason is not None:
            self.drops.append(reason)
        self._settle(now)
        self._read()
        if self.endpoint.ack_is_due():
            self._left += self._leaving(now)

    def datagrams(self, now: float) -> list[bytes]:
        self.now = now
        self.connection.advance(now)
        left, self._left = self._left, []
        return left + self._leaving(now)

    def _leaving(self, now: float) -> list[bytes]:
        return list(iter(lambda: self.connection.next_datagram(now), None))

    def _settle(self, now: float) -> None:
        """Open the channels once the peer's first data is here."""
        if self.endpoint.setup is None or self.connection.status != ConnectionStatus.CONNECTING:
            return
        ordered = [each for each in CHANNELS if each.kind is ChannelKind.ORDERED]
        if self.is_server:
            connect = ConnectData.decode(self.endpoint.setup)
            self.credential = connect.credential
            windows = [each.window for each in connect.channels if each.kind is ChannelKind.ORDERED]
            self.endpoint.send_setup(
                AcceptData(RESET_TOKEN, [each.window for each in ordered]).encode()
            )
        else:
            windows = list(AcceptData.decode(self.endpoint.setup, len(ordered)).windows)
        theirs = {each.channel: window for each, window in zip(ordered, windows, strict=True)}
        for each in CHANNELS:
            granted = theirs.get(each.channel, Window())
            self.endpoint.open_channel(
                each.channel,
                each.kind,
                window=(each.window.number, each.window.total),
                peer_window=(granted.number, granted.total),
            )
        self.connection.establish(now)
        if self.ids is not None:
            self.endpoint.issue_ids(self.ids)

    def _read(self) -> None:
        """Take the messages, as a game does that reads at once."""
        for number, message, *channel in self.endpoint.take_messages():
            self.delivered.append((channel[0] if channel else 0, number, message))
        if self.is_server or not self.is_open:
            return
        for declared in CHANNELS:
            while self.connection.channel_inbox_size(declared.channel):
                number, message = self.connection.take_channel_message(declared.channel)
                self.delivered.append((declared.channel, number, message))


class SecondPeer:
    """The second peer, with the same methods."""

    def __init__(self, is_server: bool, credential: bytes = b"", **kem: Any) -> None:
        side = "server" if is_server else "client"
        self.peer = Peer2(
            side, SECRETS, CONNECTION_ID, SECOND_CHANNELS, credential, RESET_TOKEN, **kem
        )

    @property
    def is_open(self) -> bool:
        return self.peer.is_open

    @property
    def is_done(self) -> bool:
        return self.peer.is_done

    @property
    def closed(self) -> tuple[int, str] | None:
        return self.peer.closed

    @property
    def delivered(self) -> list[tuple[int, int, bytes]]:
        return self.peer.delivered

    def say(self, channel: int, message: bytes) -> None:
        self.peer.say(channel, message)

    def close(self, code: int = 0, text: str = "") -> None:
        self.peer.close(code, text)

    def receive(self, datagram: bytes, now: float) -> None:
        self.peer.receive(datagram)

    def datagrams(self, now: float) -> list[bytes]:
        return self.peer.datagrams(now)


class SessionPair:
    """A client and a server over a link; `tick` lets a frame pass."""

    def __init__(
        self,
        conditions: LinkConditions | None = None,
        seed: int | str = 0,
        client: Side | SecondPeer | None = None,
        server: Side | SecondPeer | None = None,
    ) -> None:
        self.now = 0.0
        self._seed = seed
        self.link = LinkPair(conditions or LinkConditions(), None, seed)
        self.client = client or Side(is_server=False)
        self.server = server or Side(is_server=True)
        self.datagrams: list[bytes] = []
        """All that were sent."""

    def relink(self, conditions: LinkConditions) -> None:
        """Go on over another link; what is in flight is lost."""
        self.link = LinkPair(conditions, None, self._seed)

    def tick(self, seconds: float = TICK) -> None:
        self.now += seconds
        for side, incoming, outgoing in (
            (self.client, self.link.down, self.link.up),
            (self.server, self.link.up, self.link.down),
        ):
            for datagram in incoming.receive(self.now):
                side.receive(datagram, self.now)
            for datagram in side.datagrams(self.now):
                self.datagrams.append(datagram)
                outgoing.send(datagram, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.tick()

    def run_until(self, condition: Callable[[], object], limit: float = 60.0) -> float:
        """Let frames pass until the condition holds; return for how long, at most `limit`."""
        start = self.now
        while not condition():
            assert self.now - start < limit, f"not within {limit} s"
            self.tick()
        return self.now - start

    def open(self) -> SessionPair:
        """Let the session be established on both sides."""
        self.run_until(lambda: self.client.is_open and self.server.is_open)
        return self

    @property
    def is_done(self) -> bool:
        """True when both sides have nothing left that is to be acked."""
        return self.client.is_done and self.server.is_done


class Hand:
    """A peer of a `Side`, by hand: it reads every frame, and seals any frames that it is told to.

    Packet numbers count up by themselves; what it has read it acks only when told to.
    """

    def __init__(self, is_server: bool) -> None:
        own, other = ("server", "client") if is_server else ("client", "server")
        self._side, self._secret = own, SECRETS[own]
        self._receiving = ReceivingKeys(SECRETS[other])
        self._their_mask = keys.mask_key(SECRETS[other])
        self._phase = 0
        self.number = 0
        self.read: dict[int, list[Frame]] = {}
        """The frames of each packet that was read, by its number."""

    def make(
        self, *frames: Frame, number: int | None = None, connection_id: bytes = CONNECTION_ID
    ) -> bytes:
        return self.make_of(pack_all(list(frames)), number, connection_id)

    def make_of(
        self, payload: bytes, number: int | None = None, connection_id: bytes = CONNECTION_ID
    ) -> bytes:
        """Seal any bytes as the frames of a packet."""
        self.number = self.number + 1 if number is None else number
        connection_id = connection_id if self._side == "client" else b""
        sealing = keys.packet_keys(self._phase, self._secret)
        mask = keys.mask_key(SECRETS[self._side])
        return seal(sealing, mask, connection_id, self.number, payload)

    def update_key(self) -> None:
        self._secret, self._phase = keys.next_secret(self._secret), self._phase + 1

    def take(self, datagrams: Iterable[bytes], connection_id: bytes = CONNECTION_ID) -> list[Frame]:
        """Read datagrams, and return all their frames."""
        found = []
        connection_id = b"" if self._side == "client" else connection_id
        for datagram in datagrams:
            packet = open_packet(
                datagram,
                self._receiving,
                self._their_mask,
                connection_id,
                max(self.read, default=0),
            )
            self.read[packet.number] = unpack_all(packet.payload)
            found += self.read[packet.number]
        return found

    def ack(self) -> Ack:
        """An ACK of all that was read."""
        return ack_of(set(self.read), 0)


def accepted(
    is_server: bool = False,
    now: float = 0.0,
    *,
    max_datagram: int = LEAST_DATAGRAM,
    issues_ids: bool = False,
) -> tuple[Side, Hand]:
    """A side whose session is established, with a peer by hand that has acked all so far."""
    side = Side(is_server, now, max_datagram=max_datagram, issues_ids=issues_ids)
    hand = Hand(not is_server)
    if is_server:
        data = pack_connect_data(ConnectTable(b"", SECOND_CHANNELS, {}))
        opening: Frame = Connect(len(data), 0, data)
    else:
        windows = [(WINDOW.number, WINDOW.total)]
        data = pack_accept_data(AcceptTable(RESET_TOKEN, windows))
        opening = Accept(len(data), 0, data)
    hand.take(side.datagrams(now))
    side.receive(hand.make(opening), now)
    hand.take(side.datagrams(now))
    side.receive(hand.make(hand.ack()), now)
    hand.take(side.datagrams(now))
    return side, hand
