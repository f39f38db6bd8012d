"""Counters of a server that say who is there, and why others no longer are."""

from __future__ import annotations

from typing import Any

import pytest
from support.players2 import Player2
from support.serverworld import Recorder, World
from support.wire2.frames import Ping

from mpgameserver.enums import CloseCode, DisconnectReason
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.meter import ServerMeter

ELSEWHERE = ("198.51.100.7", 4000)


def test_sessions_are_counted_by_protocol() -> None:
    world = World()
    world.join()
    first, _ = Player2(world).join(), Player2(world).join()
    assert world.engine.stats.protocols == {"1": 1, "2": 2}
    assert first.peer is not None
    first.peer.close()
    world.run(1.0)
    assert world.engine.stats.protocols == {"1": 1, "2": 1}
    world.players.clear()
    world.run(10.0)
    assert world.engine.stats.clients == 0
    assert world.engine.stats.protocols == {"1": 0, "2": 0}


def test_each_session_in_a_snapshot_has_its_protocol() -> None:
    world = World()
    world.context.meter = meter = ServerMeter()
    world.engine = ServerEngine(world.context)
    world.engine.start(world.now)
    world.join()
    Player2(world).join()
    assert sorted(each.protocol for each in meter.figures().connections) == [1, 2]


@pytest.mark.parametrize(
    ("code", "counted"),
    [
        (CloseCode.CLOSED, "closed by client"),
        (300, "closed by client"),
        (77, "closed by client"),
        (CloseCode.PROTOCOL, "closed by client: PROTOCOL"),
        (CloseCode.KEYS, "closed by client: KEYS"),
    ],
)
def test_the_end_of_a_session_is_counted_by_a_word_that_no_client_chooses(
    code: int, counted: str
) -> None:
    world = World()
    player = Player2(world).join()
    assert player.peer is not None
    player.peer.close(code, "anything")
    world.run(1.0)
    assert world.engine.stats.ends == {counted: 1}


def test_so_is_that_of_protocol_1() -> None:
    world = World()
    first, second = world.join(), world.join()
    first.connection.disconnect(world.now)
    world.client_of(second).disconnect()
    world.run(2.0)
    assert world.engine.stats.ends == {"closed by client": 1, "kicked": 1}


def test_so_is_that_of_a_client_that_was_refused_or_is_silent() -> None:
    class Picky(Recorder):
        def authenticate(self, client: Any, credential: bytes) -> object:
            return credential == b"good"

    world = World(Picky())
    Player2(world, credential=b"good").join()
    refused = Player2(world, credential=b"bad")
    world.run(1.0)
    assert refused.closed is not None
    assert world.engine.stats.ends == {DisconnectReason.REFUSED.value: 1}
    world.players.clear()
    world.run(10.0)
    assert world.engine.stats.ends == {"refused": 1, "timeout": 1}


def test_changes_of_address_are_counted() -> None:
    world = World(conditions=LinkConditions(latency=0.01))
    player = Player2(world).join()
    world.run(0.5)
    assert world.engine.stats.moves == 0
    player.address = ELSEWHERE
    assert player.peer is not None
    player.peer.say(0, b"here")
    world.run(1.0)
    assert world.engine.stats.moves == 1


def test_resets_are_counted_as_they_are_sent() -> None:
    world = World()
    player = Player2(world).join()
    assert player.peer is not None
    world.engine = ServerEngine(world.context)
    world.engine.start(world.now)
    for _ in range(3):
        world.serve([(player.peer.packet_of(Ping()), player.address)])
    assert world.engine.stats.resets == 3
    assert world.engine.stats.drops == {"no session": 3}
