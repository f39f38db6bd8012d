"""Endpoints without a handshake: one against a peer made by hand, or two over a seeded link."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import wire

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver.connection import Connection
from mpgameserver.netsim import LinkConditions, LinkPair

KEY = bytes(range(16))
WALL_START = 1_700_000_000
TICK = 1 / 64
CLOCK_ROUNDING = 1e-6
"""Seconds: by so much later than it could a sender goes on that has used up a second's nonces."""


class GuardedAead:
    """AES-GCM that fails when a nonce is used a second time. Both sides share one, as the key."""

    def __init__(self, key: bytes = KEY) -> None:
        self._aead = AESGCM(key)
        self.nonces: set[bytes] = set()

    def _guard(self, nonce: bytes, associated_data: bytes) -> None:
        assert nonce == associated_data[:12]
        assert nonce not in self.nonces, f"nonce {nonce.hex()} repeats"
        self.nonces.add(nonce)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        self._guard(nonce, associated_data)
        return self._aead.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        return self._aead.decrypt(nonce, data, associated_data)


def new_endpoint(is_server: bool = False, now: float = 0.0, **options: int) -> Endpoint1:
    """An established endpoint with `KEY`."""
    endpoint = Endpoint1(GuardedAead(), is_server, now, WALL_START, **options)
    endpoint.established = True
    return endpoint


def flush(endpoint: Endpoint1, now: float) -> list[bytes]:
    """Advance, and take every datagram that should leave now."""
    endpoint.advance(now)
    return list(iter(lambda: endpoint.next_datagram(now), None))


def paced(endpoint: Endpoint1, start: float) -> list[bytes]:
    """Take every datagram that leaves in nearly a tenth of a second from `start`, at its pace."""
    steps = (start + step / 250 for step in range(24))
    return [datagram for now in steps for datagram in flush(endpoint, now)]


def messages_of(endpoint: Endpoint1) -> list[bytes]:
    """Take the messages received, without their numbers."""
    return [message for _, message in endpoint.take_messages()]


class Peer:
    """The other side of an endpoint, by hand: it holds the key and may do anything with it.

    `make` writes a datagram with the second codec, `read` opens one and remembers its number for
    the ack fields. Packet and message numbers count up by themselves.
    """

    def __init__(self, is_server: bool = True, key: bytes = KEY) -> None:
        self.key = key
        self.identifier = wire.TO_CLIENT if is_server else wire.TO_SERVER
        self.acks = wire.AckField(32)
        self.seq = self.message_seq = 0
        self.time = WALL_START

    def message(self, payload: bytes = b"", kind: int = wire.APP) -> wire.Message:
        self.message_seq = wire.add(self.message_seq, 1)
        return wire.Message(self.message_seq, kind, payload)

    def make(self, *messages: wire.Message, acks: tuple[int, int] | None = None) -> bytes:
        """A datagram with these messages; it acks what was read, or `acks` = (ack, bits)."""
        self.seq = wire.add(self.seq, 1)
        ack, bits = (self.acks.ack, self.acks.bits) if acks is None else acks
        fields = (self.identifier, self.time, self.seq, ack, bits)
        return wire.seal(*fields, list(messages), self.key)

    def raw(self, payload: bytes, **fields: int) -> bytes:
        """A datagram that seals this payload under a header with these fields.

        Without them it says: one APP message, of the payload's true length.
        """
        self.seq = wire.add(self.seq, 1)
        header = wire.Header(
            self.identifier, self.time, self.seq, 0, wire.APP, len(payload), 1, 0
        )._replace(**fields)
        data = wire.pack_header(header)
        return data + AESGCM(self.key).encrypt(data[:12], payload, data)

    def read(self, datagram: bytes) -> tuple[wire.Header, list[wire.Message]]:
        header, messages = wire.unseal(datagram, self.key)
        self.acks.receive(header.seq)
        return header, messages

    def read_all(self, datagrams: list[bytes]) -> list[wire.Message]:
        """The messages of all these datagrams."""
        return [message for datagram in datagrams for message in self.read(datagram)[1]]


def fragments_of(message: bytes, mtu: int) -> list[bytes]:
    """The APP_FRAGMENT messages in which an endpoint sends its first message."""
    endpoint, peer = new_endpoint(max_datagram=wire.sizes(mtu).datagram), Peer()
    endpoint.send_queue.add(message)
    sent, now = [], 0.0
    while endpoint.send_queue.pending:
        sent += peer.read_all(flush(endpoint, now))
        now += 0.05
        endpoint.receive(peer.make(), now)
    assert {each.type for each in sent} == {wire.APP_FRAGMENT}
    return [each.payload for each in sent]


class Outcomes:
    """Callbacks that count what they were called with: True and False by name."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[object, bool]] = Counter()

    def expect(self, name: object) -> Callable[[bool], object]:
        return lambda acked: self.calls.update([(name, acked)])

    def collect(self, side: Endpoint1 | Connection) -> dict[tuple[object, bool], int]:
        """Call what is completed, and return all calls so far."""
        for callback, acked in side.take_completed():
            callback(acked)
        return dict(self.calls)


class EndpointPair:
    """Two endpoints over a seeded link, on a clock of their own.

    `tick` passes one frame: each side receives, advances and sends. Every datagram that leaves is
    checked: its size, its nonce, and that what is in flight stays within the span of the acks, or
    of the receive window once the receiver is known to ack often. Pings and probes, which have
    one empty message, are not in flight.
    """

    SPAN = 32
    WIDE_SPAN = 1024
    PING = wire.HEADER.size + 2 + wire.TAG_SIZE

    def __init__(
        self,
        conditions: LinkConditions | None = None,
        seed: int | str = 0,
        down: LinkConditions | None = None,
        start: float = 0.0,
        max_datagram: int = 1472,
        **options: int,
    ) -> None:
        self.now = start
        self.max_datagram = max_datagram
        self.aead = GuardedAead()
        self.link = LinkPair(conditions or LinkConditions(), down, seed)
        options["max_datagram"] = max_datagram
        self.client = Endpoint1(self.aead, False, start, WALL_START, **options)
        self.server = Endpoint1(self.aead, True, start, WALL_START, **options)
        self.client.established = self.server.established = True
        self.datagrams = 0

    def tick(self, seconds: float = TICK) -> None:
        self.now += seconds
        for endpoint, incoming, outgoing in (
            (self.client, self.link.down, self.link.up),
            (self.server, self.link.up, self.link.down),
        ):
            arrived = incoming.receive(self.now)
            for datagram in arrived:
                if endpoint.receive(datagram, self.now) == 0 and endpoint.ack_is_due():
                    self._send(endpoint, outgoing.send)
            self.play(endpoint)
            self._advance(endpoint, outgoing.send, not arrived)

    def play(self, endpoint: Endpoint1) -> None:
        """Hook for a game's work between receiving and sending; here nothing."""

    def _advance(
        self, endpoint: Endpoint1, send: Callable[[bytes, float], None], undisturbed: bool
    ) -> None:
        """Advance and send: `next_timer` has told if there is anything to do."""
        idle = undisturbed and endpoint.next_timer() > self.now + CLOCK_ROUNDING
        datagrams, settled = self.datagrams, len(endpoint.send_queue.completed)
        endpoint.advance(self.now)
        self._send(endpoint, send)
        if idle:
            assert (self.datagrams, len(endpoint.send_queue.completed)) == (datagrams, settled)
        assert endpoint.next_timer() > self.now

    def _send(self, endpoint: Endpoint1, send: Callable[[bytes, float], None]) -> None:
        while (datagram := endpoint.next_datagram(self.now)) is not None:
            assert len(datagram) <= self.max_datagram
            if datagram[15] and len(datagram) > self.PING:
                sent = endpoint.sent_packets
                span = (
                    self.WIDE_SPAN if endpoint.send_limits.ack_frequency.is_frequent else self.SPAN
                )
                assert sent.newest - sent.oldest_undecided <= span
            endpoint.on_datagram_sent(len(datagram), self.now)
            self.datagrams += 1
            send(datagram, self.now)

    def run(self, seconds: float) -> None:
        """Let that much time pass in frames."""
        for _ in range(math.ceil(seconds / TICK)):
            self.tick()

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0) -> float:
        """Let frames pass until the condition holds; return for how long, at most `limit`."""
        start = self.now
        while not condition():
            assert self.now - start < limit, f"not within {limit} s"
            self.tick()
        return self.now - start

    def relink(self, conditions: LinkConditions, seed: int | str = 0) -> None:
        """Change what the link does from now on; what is in flight is lost."""
        self.link = LinkPair(conditions, seed=seed)
