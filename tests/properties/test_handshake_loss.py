"""The whole handshake, both sides, over a link that loses what it likes."""

from __future__ import annotations

from collections import Counter

import pytest
from support.turns import turn

from mpgameserver.client.handshake import ClientHandshake
from mpgameserver.client.udpclient import CONNECTION_TIMEOUT
from mpgameserver.connection import Connection, Timing
from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.netsim import LinkConditions, LinkPair
from mpgameserver.server import EventHandler, ServerClient, ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.transport.address import SocketAddress

CLIENTS = 30
FRAME = 1 / 60
WALL_START = 1_700_000_000.0
ROOT_KEY = EllipticCurvePrivateKey.new()


class Arrivals(EventHandler):
    """Counts the connect and disconnect events of each address."""

    def __init__(self) -> None:
        self.connected: Counter[object] = Counter()
        self.disconnected: Counter[object] = Counter()

    def connect(self, client: ServerClient) -> None:
        self.connected[client.addr] += 1

    def disconnect(self, client: ServerClient) -> None:
        self.disconnected[client.addr] += 1


def leaving_of(connection: Connection, now: float) -> list[bytes]:
    """Return the datagrams that a connection sends at a time."""
    return list(iter(lambda: connection.next_datagram(now), None))


def leaving_of_server(engine: ServerEngine, now: float) -> list[tuple[bytes, SocketAddress]]:
    """Return the datagrams that a server sends in all its turns at a time."""
    leaving = []
    while True:
        leaving += turn(engine, now)
        if engine.next_timer() > now:
            return leaving


def connect_all(conditions: LinkConditions, seed: int) -> tuple[Arrivals, list[float | None]]:
    """Let clients connect for as long as `connect` waits; when each of them succeeded."""
    handler = Arrivals()
    engine = ServerEngine(ServerContext(handler, ROOT_KEY))
    engine.start(0.0)
    addresses = [("192.0.2.1", 50_000 + i) for i in range(CLIENTS)]
    links = [LinkPair(conditions, seed=f"{seed}/{i}") for i in range(CLIENTS)]
    attempts = [ClientHandshake(ROOT_KEY.getPublicKey(), 0.0, WALL_START) for _ in links]
    connections: list[Connection | None] = [None] * CLIENTS
    connected_at: list[float | None] = [None] * CLIENTS
    for attempt in attempts:
        attempt.add_path("port", 0.0, 1434, 1472)
    now = 0.0
    while now < CONNECTION_TIMEOUT:
        now += FRAME
        for i, (attempt, link) in enumerate(zip(attempts, links, strict=True)):
            for datagram in link.down.receive(now):
                connection = connections[i]
                if connection is not None:
                    connection.receive(datagram, now)
                elif (session := attempt.receive("port", datagram, now)) is not None:
                    connections[i] = Connection(session.endpoint, session.token, Timing())
                    connected_at[i] = now
            connection = connections[i]
            if connection is None:
                leaving = [datagram for _, datagram in attempt.datagrams(now)]
            else:
                connection.advance(now)
                leaving = leaving_of(connection, now)
            for datagram in leaving:
                link.up.send(datagram, now)
            for datagram in link.up.receive(now):
                engine.dispatcher.receive(datagram, addresses[i], now, WALL_START + now)
        for datagram, address in leaving_of_server(engine, now):
            links[addresses.index(address[:2])].down.send(datagram, now)
    return handler, connected_at


@pytest.mark.parametrize("latency", [0.0, 0.1])
def test_thirty_of_thirty_connect_at_20_percent_loss_each_way(latency: float, seed: int) -> None:
    conditions = LinkConditions(loss=0.2, duplicate=0.05, latency=latency, jitter=latency / 4)
    handler, connected_at = connect_all(conditions, seed)
    assert None not in connected_at
    assert len(handler.connected) == CLIENTS
    assert set(handler.connected.values()) == {1}
    assert not handler.disconnected


def test_without_loss_it_takes_two_round_trips(seed: int) -> None:
    _, connected_at = connect_all(LinkConditions(latency=0.05), seed)
    assert all(at is not None and 0.2 <= at <= 0.2 + 5 * FRAME for at in connected_at)


def test_round_trips_of_up_to_2400_ms_connect_with_the_defaults(seed: int) -> None:
    handler, connected_at = connect_all(LinkConditions(latency=1.2), seed)
    assert all(at is not None and at <= CONNECTION_TIMEOUT for at in connected_at)
    assert set(handler.connected.values()) == {1}
    assert not handler.disconnected
