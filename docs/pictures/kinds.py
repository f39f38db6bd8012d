"""A session with a channel of each kind, over a seeded bad link, and what became of each message.

The client sends the same messages on all four channels at the same times, so they share datagrams:
what is lost or late is the same for all. Times are virtual, and count from the first message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.frames import FrameType, decode_frames
from mpgameserver._core.packet_protection import PacketOpener
from mpgameserver.connection import Connection, Timing
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.wire.protocol2.keys import TrafficSecret
from mpgameserver.wire.protocol2.setup import ChannelKind

FRAME = 1 / 60
SECRETS = {False: TrafficSecret(bytes(32)), True: TrafficSecret(bytes(31) + b"\1")}
"""Those of what a client and a server seal."""
CONNECTION_ID = bytes(8)
CONDITIONS = LinkConditions(loss=0.2, latency=0.04, reorder=0.15, reorder_delay=0.14)
SEED = 47
KINDS = {
    "ordered": ChannelKind.ORDERED,
    "latest": ChannelKind.LATEST,
    "sequenced": ChannelKind.SEQUENCED,
    "unordered": ChannelKind.UNORDERED,
}
CHANNELS = dict(enumerate(KINDS, 1))
WINDOW = (100, 100_000)
MESSAGES = {str(number): 0.1 * (number - 1) for number in range(1, 7)}
"""The messages of the client, and their times in seconds."""
WARM_UP = 1.0
"""Seconds before the first message, in which both sides measure the round trip."""
SECONDS = 1.0


@dataclass
class Flight:
    """A datagram of the client: when it left and arrived (None: lost), and the messages in it."""

    left: float
    arrived: float | None
    messages: dict[str, list[str]]
    """By the kind of the channel."""


@dataclass
class Run:
    """All that there is to draw; times are seconds."""

    flights: list[Flight] = field(default_factory=list)
    handled: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """The messages that the server's game was given on each channel, in order, and when."""

    def to_json(self) -> str:
        """With times in whole milliseconds."""
        rounded = json.loads(json.dumps(asdict(self)), parse_float=lambda t: round(float(t), 3))
        return json.dumps(rounded)


class Side:
    """A client or a server, whose session is established, with the channels open."""

    def __init__(self, is_server: bool) -> None:
        own, other = SECRETS[is_server], SECRETS[not is_server]
        endpoint = Endpoint2(own, other, is_server, 0.0, CONNECTION_ID)
        self.connection = Connection(endpoint, 1, Timing())
        for channel, kind in CHANNELS.items():
            window = WINDOW if kind == "ordered" else (0, 0)
            endpoint.open_channel(channel, KINDS[kind], window=window, peer_window=window)
        self.connection.establish(0.0)

    def datagrams(self, now: float) -> Iterator[bytes]:
        """The datagrams that leave in a frame."""
        self.connection.advance(now)
        while (datagram := self.connection.next_datagram(now)) is not None:
            self.connection.endpoint.on_datagram_sent(len(datagram), now)
            yield datagram


class Reader:
    """Reads what the client sends, with its key."""

    def __init__(self) -> None:
        self._opener = PacketOpener(SECRETS[False], SECRETS[False].mask())
        self._newest = 0

    def messages_in(self, datagram: bytes) -> dict[str, list[str]]:
        """The messages of a datagram, by the kind of their channel."""
        self._newest, payload = self._opener.open(datagram, len(CONNECTION_ID), self._newest)
        messages: dict[str, list[str]] = {}
        for frame in decode_frames(payload):
            if frame.type == FrameType.MESSAGE:
                messages.setdefault(CHANNELS[frame.channel], []).append(frame.data.decode())
        return messages


def run(seed: int = SEED) -> Run:
    """Let the client send its messages on each channel, and write down what happens."""
    link, told, reader = LinkPair(CONDITIONS, seed=seed), Run(), Reader()
    client, server = Side(False), Side(True)
    under_way: dict[bytes, Flight] = {}
    waiting = dict(MESSAGES)
    for frame in range(round((WARM_UP + SECONDS) / FRAME)):
        now, time = frame * FRAME, frame * FRAME - WARM_UP
        for text in [text for text, when in waiting.items() if when <= time + FRAME / 2]:
            del waiting[text]
            for channel in CHANNELS:
                client.connection.send_on(channel, text.encode())
        for datagram in link.down.receive(now):
            client.connection.receive(datagram, now)
        for datagram in client.datagrams(now):
            flight = under_way[datagram] = Flight(time, None, reader.messages_in(datagram))
            told.flights += [flight] if flight.messages else []
            link.up.send(datagram, now)
        for datagram in link.up.receive(now):
            under_way[datagram].arrived = time
            server.connection.receive(datagram, now)
        for _, message, channel in server.connection.endpoint.take_messages():
            handled = told.handled.setdefault(CHANNELS[channel], [])
            handled.append((message.decode(), time))
        for datagram in server.datagrams(now):
            link.down.send(datagram, now)
    return told
