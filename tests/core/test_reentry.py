"""Code that runs in the middle of a call of an endpoint, and calls the same endpoint.

Any code can: a finalizer that a collection runs when a list is made, or an AEAD in Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.endpoints import KEY, WALL_START, GuardedAead
from support.finalizers import CollectedSoon
from support.pair import ConnectionPair, received

from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.session import Session
from mpgameserver.enums import RetryMode
from mpgameserver.errors import NotConnectedError

COLLECTS_IN_C = sys.version_info < (3, 12)
"""An allocation in compiled code can start a collection."""
SMALL = [b"message %d" % number for number in range(20)]


class MeddlingAead(GuardedAead):
    """Runs `meddle` in the middle of each call, once set."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.meddle = None
        self.raised: list[BaseException] = []

    def _guard(self, nonce, associated_data) -> None:
        self._run()
        super()._guard(nonce, associated_data)

    def decrypt(self, nonce, data, associated_data, /):
        self._run()
        return super().decrypt(nonce, data, associated_data)

    def _run(self) -> None:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            try:
                meddle()
            except RuntimeError as error:
                self.raised.append(error)


def actions_on(endpoint: Endpoint1, datagram: bytes) -> dict[str, object]:
    """Calls that code may make in the middle of another call of the endpoint, by name."""
    return {
        "next_datagram": lambda: endpoint.next_datagram(0.5),
        "receive": lambda: endpoint.receive(datagram, 0.5),
        "advance": lambda: endpoint.advance(0.5),
        "queue": lambda: endpoint.send_queue.add(b"in between"),
        "take_messages": endpoint.take_messages,
        "take_completed": endpoint.take_completed,
        "begin_close": endpoint.begin_close,
        "abort": lambda: endpoint.abort(0.5),
        "close": endpoint.close,
        "next_timer": endpoint.next_timer,
    }


EXCLUSIVE = ("next_datagram", "receive", "advance")
ENDS = ("begin_close", "abort", "close")
NAMES = list(actions_on(Endpoint1(GuardedAead(), False, 0.0, WALL_START), b""))


@pytest.fixture
def pair() -> ConnectionPair:
    pair = ConnectionPair()
    for message in SMALL:
        pair.client.send(message)
    return pair


@pytest.mark.parametrize("name", NAMES)
def test_a_finalizer_while_a_packet_is_assembled_leaves_the_packet_as_it_was(pair, name):
    client, server = pair.client.endpoint, pair.server.endpoint
    server.send_queue.add(b"for the client")
    action = actions_on(client, server.next_datagram(0.0))[name]
    with CollectedSoon(action) as raised:
        datagram = client.next_datagram(0.0)
    if COLLECTS_IN_C and name in EXCLUSIVE:
        assert [type(error) for error in raised] == [RuntimeError]
    assert server.receive(datagram, 0.0) == 0
    arrived = [text for text in received(pair.server) if text != b"in between"]
    assert arrived == (SMALL[: len(arrived)] if name in ENDS else SMALL)


@pytest.mark.parametrize("name", sorted({*NAMES} - {*ENDS}))
def test_a_connection_goes_on_after_finalizers_in_the_middle_of_its_calls(pair, name):
    sent = [b"up %d" % step for step in range(30)]
    for message in sent:
        pair.client.send(message)
        pair.server.send(message)
        datagram = pair.server.next_datagram(pair.now) or b""
        with CollectedSoon(actions_on(pair.client.endpoint, datagram)[name]):
            pair.frame()
    pair.run(3.0)
    arrived = [text for text in received(pair.server) if text != b"in between"]
    assert sorted(arrived) == sorted(SMALL + sent)  # once each, in spite of lost datagrams
    if name not in ("take_messages", "receive"):
        assert sorted(received(pair.client)) == sorted(sent)
    assert pair.client.pending == 0
    assert [acked for _, acked in pair.client.take_completed()] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_aead_that_calls_its_endpoint_while_it_seals(name):
    aead = MeddlingAead()
    endpoint = Endpoint1(aead, False, 0.0, WALL_START)
    peer = Endpoint1(AESGCM(KEY), True, 0.0, WALL_START)
    peer.established = endpoint.established = True
    endpoint.send_queue.add(b"message")
    aead.meddle = actions_on(endpoint, b"")[name]
    datagram = endpoint.next_datagram(0.0)
    assert peer.receive(datagram, 0.0) == 0
    assert [message for _, message in peer.take_messages()] == [b"message"]
    assert [type(error) for error in aead.raised] == [RuntimeError] * (name in EXCLUSIVE)


@pytest.mark.parametrize("name", NAMES)
def test_an_aead_that_calls_its_endpoint_while_it_opens(name):
    aead = MeddlingAead()
    endpoint = Endpoint1(aead, False, 0.0, WALL_START)
    peer = Endpoint1(AESGCM(KEY), True, 0.0, WALL_START)
    peer.established = endpoint.established = True
    peer.send_queue.add(b"message")
    datagram = peer.next_datagram(0.0)
    aead.meddle = actions_on(endpoint, datagram)[name]
    assert endpoint.receive(datagram, 0.0) == 0
    assert [message for _, message in endpoint.take_messages()] == [b"message"]
    assert endpoint.received == 1
    assert [type(error) for error in aead.raised] == [RuntimeError] * (name in EXCLUSIVE)


class Ending:
    """A buffer in Python (PEP 688), which ends a connection when its bytes are asked for."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end = end

    def __buffer__(self, flags: int) -> memoryview:
        self.end()
        return memoryview(b"message")


def send_ending(send: Callable[..., None], callback: object, end: Callable[[], object]) -> None:
    """Send a message whose bytes cannot be had without the end of the connection."""
    retry = RetryMode.NONE
    if COLLECTS_IN_C:
        payload = bytearray(b"message")
        with CollectedSoon(end):  # nothing is allocated before the memoryview of the payload
            send(payload, retry, callback)
    else:
        send(Ending(end), retry, callback)


@pytest.mark.parametrize("how", ["abort", "disconnect"])
def test_a_message_that_ends_its_connection_is_refused(pair, how):
    client = pair.client
    with pytest.raises(NotConnectedError):
        send_ending(client.send, print, lambda: getattr(client, how)(pair.now))
    client.abort(pair.now)
    assert client.take_completed() == []


@pytest.mark.parametrize("how", ["abort", "disconnect"])
def test_a_message_that_ends_its_session_is_told_to_have_failed(pair, how):
    refused: list[object] = []
    owner = SimpleNamespace(
        now=0.0, wants_out=lambda _: None, refuse=lambda _, callback: refused.append(callback)
    )
    session = Session(pair.server, ("127.0.0.1", 1), b"", owner)
    send_ending(session.send, print, lambda: getattr(pair.server, how)(pair.now))
    assert refused == [print]
    pair.server.abort(pair.now)
    assert pair.server.take_completed() == []
