"""Two connections in memory that talk over a seeded bad link, and what became of it.

The same seed loses the same datagrams on every machine, so what is drawn of it stays true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mpgameserver import ConnectionStats, RetryMode
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.connection import Connection, Packet, PacketHeader, Timing
from mpgameserver.netsim import LinkConditions, LinkPair

FRAME = 1 / 60
KEY = bytes(16)
WALL_START = 1_700_000_000.0
CONDITIONS = LinkConditions(loss=0.35, latency=0.04)
SEED = 195
MESSAGES = {"A": 0.05, "B": 0.25, "C": 0.65}
"""The messages of the client, and their times in seconds."""
SECONDS = 1.4


@dataclass
class Flight:
    """A datagram: when it left, when it arrived (None: lost), and the messages in it."""

    left: float
    arrived: float | None
    is_up: bool
    messages: list[str]


@dataclass
class Talk:
    """All that there is to draw; times are seconds."""

    flights: list[Flight] = field(default_factory=list)
    handled: dict[str, float] = field(default_factory=dict)
    """When the server was given each message."""
    callbacks: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """When the callback of each message was called, and with what."""

    def to_json(self) -> str:
        """With times in whole milliseconds."""
        rounded = json.loads(json.dumps(asdict(self)), parse_float=lambda t: round(float(t), 3))
        return json.dumps(rounded)


class Player:
    """One side: a connection, and the direction of the link that it sends into."""

    def __init__(self, is_server: bool) -> None:
        endpoint = Endpoint1(AESGCM(KEY), is_server, 0.0, WALL_START)
        self.connection = Connection(endpoint, 1 << 30, Timing())

    def datagrams(self, now: float) -> Iterator[bytes]:
        """The datagrams that leave in a frame."""
        self.connection.advance(now)
        while (datagram := self.connection.next_datagram(now)) is not None:
            self.connection.endpoint.on_datagram_sent(len(datagram), now)
            yield datagram


def messages_in(datagram: bytes, is_up: bool) -> list[str]:
    """The texts of the messages in a datagram."""
    header = PacketHeader.from_bytes(is_up, datagram)
    packet = Packet.from_bytes(header, KEY, datagram)
    return [message.payload.decode() for message in packet.msgs if message.payload]


def talk(mode: RetryMode, seed: int = SEED) -> Talk:
    """Let the client say its messages in a retry mode, and write down what happens."""
    link, told = LinkPair(CONDITIONS, seed=seed), Talk()
    client, server = Player(False), Player(True)
    under_way: dict[bytes, Flight] = {}
    waiting = dict(MESSAGES)

    def settle(text: str, acked: bool) -> None:
        told.callbacks[text] = (now, acked)

    for frame in range(round(SECONDS / FRAME)):
        now = frame * FRAME
        for text in [text for text, when in waiting.items() if when <= now]:
            del waiting[text]
            client.connection.send(
                text.encode(), mode, lambda acked, text=text: settle(text, acked)
            )
        for player, incoming, outgoing in (
            (client, link.down, link.up),
            (server, link.up, link.down),
        ):
            for datagram in incoming.receive(now):
                under_way[datagram].arrived = now
                player.connection.receive(datagram, now)
            for datagram in player.datagrams(now):
                is_up = player is client
                flight = Flight(now, None, is_up, messages_in(datagram, is_up))
                under_way[datagram] = flight
                told.flights.append(flight)
                outgoing.send(datagram, now)
            for callback, acked in player.connection.take_completed():
                callback(acked)
        for _, message in server.connection.endpoint.take_messages():
            told.handled[message.decode()] = now
    return told


def play_for(seconds: float, seed: int = SEED) -> ConnectionStats:
    """The client's figures after a game of 60 messages a second, for one minute on a worse link."""
    good = LinkConditions(loss=0.02, latency=0.02, jitter=0.005)
    bad = LinkConditions(loss=0.15, latency=0.06, jitter=0.02)
    client, server = Player(False), Player(True)
    link, is_bad = LinkPair(good, seed=seed), False
    for frame in range(round(seconds / FRAME)):
        now = frame * FRAME
        if (120.0 <= now < 180.0) != is_bad:
            is_bad = not is_bad
            link = LinkPair(bad if is_bad else good, seed=f"{seed} {now}")
        for player, incoming, outgoing in (
            (client, link.down, link.up),
            (server, link.up, link.down),
        ):
            player.connection.send(bytes(40), RetryMode.NONE)
            for datagram in incoming.receive(now):
                player.connection.receive(datagram, now)
            for datagram in player.datagrams(now):
                outgoing.send(datagram, now)
            player.connection.take_completed()
            player.connection.endpoint.take_messages()
    return ConnectionStats.of(client.connection.endpoint, now)
