"""No key of protocol 2 seals a packet number twice, and no recorded packet is used again.

Every packet that is sealed or opened is remembered (`support.recordingaead2`). Key updates and
moves are in `test_soak2.py`, forks in `test_forks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.recordingaead2 import Seals2, recorded_sessions2

from mpgameserver import EventHandler, RetryMode, ServerContext, UdpClient
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import ConnectionStatus
from mpgameserver.netsim import LinkConditions
from mpgameserver.testing import World

BAD = LinkConditions(
    loss=0.2, duplicate=0.4, latency=0.04, jitter=0.04, reorder=0.2, reorder_delay=0.1, replay=0.5
)


class Echo(EventHandler):
    """Says again what it hears, and counts it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def handle_message(self, client, seqnum, msg=b""):
        self.heard.append(msg)
        client.send(msg, RetryMode.RETRY_ON_TIMEOUT)


@pytest.fixture
def seals() -> Iterator[Seals2]:
    with recorded_sessions2() as recorded:
        yield recorded


def play(world: World, client: UdpClient, messages: int = 20) -> None:
    """Send some messages and let time pass."""
    for number in range(messages):
        client.send_guaranteed(b"%d" % number)
        world.run(0.05)
    world.run(1.0)


class TestSessions:
    def test_of_a_client_that_comes_back_again_and_again(self, seals, seed):
        world = World(Echo(), BAD, seed)
        client = world.client(minimum_protocol=2)
        for visit in range(6):
            client.connect(world.address)
            world.run_until(client.connected, 20)
            play(world, client)
            if visit % 2:
                client.disconnect()
                world.run(1.5)
            else:
                client.forceDisconnect()
        assert seals.keys >= 12
        assert seals.sealed > 200

    def test_of_many_clients_that_are_asked_for_cookies(self, seals, seed):
        context = ServerContext(Echo())
        context.limits = replace(context.limits, handshake_rate=20.0)
        world = World(context, BAD, seed)
        clients = [world.client(minimum_protocol=2) for _ in range(20)]
        for client in clients:
            client.setConnectionTimeout(20.0)
            client.connect(world.address)
        world.run_until(lambda: all(client.connected() for client in clients), 30)
        assert world._engine.admission.handshakes2.retries > 0
        for client in clients:
            client.send_guaranteed(b"hello")
        world.run(3.0)
        assert seals.keys >= 40

    def test_with_a_server_that_was_restarted(self, seals, seed):
        """Under the same root key: nothing that was recorded opens anything there."""
        root_key = EllipticCurvePrivateKey.new()
        recorded: list[bytes] = []
        for run in range(3):
            echo = Echo()
            context = ServerContext(echo, root_key)
            world = World(context, LinkConditions(latency=0.02), f"{seed}/{run}")
            client = world.client(minimum_protocol=2)
            for datagram in recorded:
                world._serve([(datagram, ("10.0.0.1", 49152))])
            assert (echo.heard, len(world.clients)) == ([], 0)
            client.connect(world.address)
            world.run_until(client.connected)
            link = next(iter(client._network.sockets.values()))
            send = link.send

            def record(datagram: bytes, send=send) -> int:
                recorded.append(datagram)
                return send(datagram)

            link.send = record
            play(world, client, 5)
            assert len(echo.heard) == 5
        assert seals.keys == 6


class TestReplays:
    def test_in_the_session_of_another_client_and_in_the_next_one(self, seals, seed):
        """Whatever its place, a recorded packet is neither opened nor heard again."""
        echo = Echo()
        world = World(echo, LinkConditions(latency=0.02), seed)
        first, second = (world.connect(minimum_protocol=2) for _ in range(2))
        link = next(iter(first._network.sockets.values()))
        recorded: list[bytes] = []
        send = link.send

        def record(datagram: bytes) -> int:
            recorded.append(datagram)
            return send(datagram)

        link.send = record
        play(world, first, 10)
        before = len(echo.heard), seals.opened
        other = next(iter(second._network.sockets.values())).address
        for datagram in recorded:
            for place in (link.address, other, ("203.0.113.9", 9)):
                world._serve([(datagram, place)])
        assert (len(echo.heard), seals.opened) == before
        first.forceDisconnect()
        world.run(0.5)
        first.connect(world.address)
        world.run_until(lambda: first.status() == ConnectionStatus.CONNECTED)
        before = len(echo.heard)
        for datagram in recorded:
            world._serve([(datagram, link.address)])
        world.run(0.5)
        assert len(echo.heard) == before
        assert first.connected()
        assert second.connected()
