"""The `repr` of the objects that people print: short, with what they want to know."""

from __future__ import annotations

import dataclasses

import pytest

from mpgameserver import (
    ConnectFailure,
    ConnectionStats,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EventHandler,
    Reconnector,
    ServerClient,
    ServerContext,
    ServerStats,
    ThreadedServer,
    UdpClient,
    UdpServer,
    aio,
)
from mpgameserver.wire.packet import BitField, Packet

LOOPBACK = ("127.0.0.1", 0)


class Game(EventHandler):
    """A handler with a name."""


@pytest.fixture
def context() -> ServerContext:
    return ServerContext(Game())


def test_stats_show_the_lifetime_counts_and_the_newest_latency() -> None:
    stats = ConnectionStats(sent=120, received=119, acked=118, timeouts=1, dropped=2)
    shown = "sent 120, received 119, acked 118, timeouts 1, dropped 2, retransmitted 0"
    assert repr(stats) == f"<ConnectionStats {shown}, latency unknown>"
    measured = dataclasses.replace(stats, latency=[0] * 297 + [40, 41, 0])
    assert str(measured) == f"<ConnectionStats {shown}, latency 41 ms>"


def test_the_stats_of_a_server_show_what_is_not_zero() -> None:
    assert repr(ServerStats()) == "ServerStats()"
    stats = ServerStats(clients=3, hellos_answered=4, drops={"blocked": 2})
    assert repr(stats) == "ServerStats(clients=3, hellos_answered=4, drops={'blocked': 2})"


def test_a_server_shows_what_it_does_and_where(context: ServerContext) -> None:
    server = UdpServer(context, LOOPBACK)
    place = f"127.0.0.1:{server.address[1]}"
    assert repr(server) == f"<UdpServer listening on {place}, 0 clients>"
    server.update()
    assert repr(server) == f"<UdpServer serving on {place}, 0 clients>"
    server.close()
    assert repr(server) == f"<UdpServer stopped on {place}, 0 clients>"


def test_a_threaded_server_shows_what_it_does_and_where(context: ServerContext) -> None:
    server = ThreadedServer(context, LOOPBACK)
    assert repr(server) == "<ThreadedServer not running on 127.0.0.1:0, 0 clients>"
    with server:
        place = f"127.0.0.1:{server.address[1]}"
        assert repr(server) == f"<ThreadedServer serving on {place}, 0 clients>"
    assert repr(server) == f"<ThreadedServer not running on {place}, 0 clients>"


def test_a_context_shows_whose_events_it_has(context: ServerContext) -> None:
    assert repr(context) == "<ServerContext of Game, not running>"
    with ThreadedServer(context, LOOPBACK):
        assert repr(context) == "<ServerContext of Game, 0 clients>"


@pytest.mark.parametrize("failure", ConnectFailure)
def test_every_failure_has_a_sentence_of_its_own(failure: ConnectFailure) -> None:
    assert failure.text.endswith(".")
    assert [each for each in ConnectFailure if each.text == failure.text] == [failure]


@pytest.mark.parametrize(
    "kind",
    [
        aio.AsyncClient,
        aio.AsyncServer,
        BitField,
        ConnectionStats,
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
        Packet,
        Reconnector,
        ServerClient,
        ServerContext,
        ServerStats,
        ThreadedServer,
        UdpClient,
        UdpServer,
    ],
)
def test_what_was_never_made_can_be_shown(kind: type) -> None:
    assert kind.__name__ in repr(kind.__new__(kind))


def test_so_can_what_raised_as_it_was_made() -> None:
    with pytest.raises(TypeError) as error:
        ServerContext(Game)
    made = [entry.frame.f_locals.get("self") for entry in error.traceback]
    assert "<ServerContext, not initialized>" in map(repr, made)
