"""Items 1, 6 and 7: what a datagram costs without a socket, against the cipher alone.

The floor is one seal and one open by a reused AESGCM, of as many bytes as the payload has. Both
sides of a session send in turn, so that acks flow; a datagram is counted with the `queue` calls
that filled it, `advance`, `next_datagram`, `receive` and `take_messages`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from timing import Timed

from mpgameserver import RetryMode
from mpgameserver._core.endpoint import Endpoint
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver._core.packet_header import encode_header
from mpgameserver._core.seqnum import wire_number
from mpgameserver.wire.protocol2.keys import TrafficSecret
from mpgameserver.wire.session_cipher import cipher_library, session_cipher

START = 1000.0
WALL_START = 1_700_000_000.0
STEP = 0.0001
"""Seconds of the sessions' clock per exchange: 20,000 datagrams a second, within the nonces."""
KEY = os.urandom(16)
HEADER, NONCE, TAG = 20, 12, 16
APP = 6


def cipher() -> str:
    """The library whose AES-GCM the sessions use."""
    return cipher_library()


def session() -> tuple[Endpoint1, Endpoint1]:
    """Both sides of a session of protocol 1 that sends no keep-alives."""
    pair = (
        Endpoint1(session_cipher(KEY), False, START, WALL_START),
        Endpoint1(session_cipher(KEY), True, START, WALL_START),
    )
    for endpoint in pair:
        endpoint.established = True
        endpoint.keep_alive_interval = endpoint.message_timeout = 1e9
    return pair


def session2() -> tuple[Endpoint2, Endpoint2]:
    """The same of protocol 2."""
    client, server = TrafficSecret(os.urandom(32)), TrafficSecret(os.urandom(32))
    pair = (
        Endpoint2(client, server, False, START, bytes(8)),
        Endpoint2(server, client, True, START, bytes(8)),
    )
    for endpoint in pair:
        endpoint.establish(START)
        endpoint.keep_alive_interval = endpoint.message_timeout = endpoint.peer_idle_timeout = 1e9
    return pair


def session_of(protocol: int) -> tuple[Endpoint, Endpoint]:
    """Both sides of a session of that protocol."""
    return session() if protocol == 1 else session2()


def payload_size(size: int, messages: int) -> int:
    """The bytes of a payload with so many messages of a size."""
    return size + 2 if messages == 1 else (size + 5) * messages


def floor(size: int, count: int) -> Timed:
    """Seal and open `size` bytes."""
    aead, data = AESGCM(KEY), os.urandom(size)
    nonce, header = os.urandom(NONCE), os.urandom(HEADER)
    encrypt, decrypt = aead.encrypt, aead.decrypt

    def timed() -> float:
        began = time.perf_counter()
        for _ in range(count):
            decrypt(nonce, encrypt(nonce, data, header), header)
        return (time.perf_counter() - began) / count * 1e6

    return timed


def exchange(size: int, messages: int, retry: RetryMode, count: int, protocol: int = 1) -> Timed:
    """Datagrams with so many messages, in turn from either side."""

    def timed() -> float:
        first, second = session_of(protocol)
        message, now, every = os.urandom(size), START, range(messages)
        turns = [
            (a.send_queue.add, a.advance, a.next_datagram, b.receive, b.take_messages)
            for a, b in ((first, second), (second, first))
        ]
        began = time.perf_counter()
        for _ in range(count // 2):
            now += STEP
            for queue, advance, next_datagram, receive, take_messages in turns:
                for _ in every:
                    queue(message, retry)
                advance(now)
                receive(next_datagram(now), now)
                if len(take_messages()) != messages:
                    raise AssertionError("a datagram did not carry what it should")
        return (time.perf_counter() - began) / count * 1e6

    return timed


def sealed(seq: int, ack: int, payload: bytes, key: bytes = KEY) -> bytes:
    """A datagram of the server with one message, which acks all packets up to `ack`."""
    body = wire_number(seq).to_bytes(2, "big") + payload
    header = encode_header(
        True, int(WALL_START), APP, wire_number(seq), wire_number(ack), 0xFFFFFFFF, len(body), 1
    )
    return header + AESGCM(key).encrypt(header[:NONCE], body, header)


def receive_with_in_flight(in_flight: int, count: int) -> Timed:
    """Receive a datagram that acks the oldest of so many packets in flight."""
    answers = [sealed(n, n, b"x" * 64) for n in range(1, count + 1)]

    def timed() -> float:
        client, _ = session()
        send, receive = client.sent_packets.on_packet_sent, client.receive
        for _ in range(in_flight):
            send(START, True, None)
        spent = 0.0
        for answer in answers:
            began = time.perf_counter()
            verdict = receive(answer, START)
            spent += time.perf_counter() - began
            if verdict:
                raise AssertionError("an honest datagram was dropped")
            send(START, True, None)
        if client.acked != count:
            raise AssertionError("an ack was lost")
        return spent / count * 1e6

    return timed


def failing_open(size: int, count: int) -> Timed:
    """AES-GCM alone, which finds that a datagram with `size` bytes of payload was forged."""
    aead, forged = AESGCM(KEY), os.urandom(size + TAG)
    nonce, header = os.urandom(NONCE), os.urandom(HEADER)

    def timed() -> float:
        decrypt = aead.decrypt
        began = time.perf_counter()
        for _ in range(count):
            try:
                decrypt(nonce, forged, header)
            except InvalidTag:
                continue
        return (time.perf_counter() - began) / count * 1e6

    return timed


def reject(make: Callable[[int], bytes], count: int, reason: str) -> Timed:
    """Receive what must be dropped for that reason; `make` gives each datagram, by number."""
    datagrams = [make(n) for n in range(1, count + 1)]

    def timed() -> float:
        client, _ = session()
        for n in range(5000, 8000, 500):
            client.receive(sealed(n, 1, b"x" * 64), START)
        receive = client.receive
        began = time.perf_counter()
        for datagram in datagrams:
            receive(datagram, START)
        elapsed = time.perf_counter() - began
        if client.drops[reason] != count:
            raise AssertionError(f"not every datagram was dropped as {reason}: {client.drops}")
        return elapsed / count * 1e6

    return timed


def forged(number: int) -> bytes:
    """A datagram with a number that is new and a seal that does not open."""
    return sealed(8000 + number % 4000, 1, b"x" * 64, bytes(16))


def behind(number: int) -> bytes:
    """A datagram that comes too late to tell whether it was had before."""
    return sealed(1 + number % 4000, 1, b"x" * 64)


def misdirected(number: int) -> bytes:
    """A datagram with another protocol's identifier."""
    return b"QUIC" + sealed(8000 + number % 4000, 1, b"x" * 64)[4:]
