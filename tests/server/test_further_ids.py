"""The connection ids that a server gives a client besides the one of its answer."""

from __future__ import annotations

import pytest
from support.players2 import Player2
from support.serverworld import ROOT_KEY, Recorder, World
from support.wire2.frames import Close, Ping, RetireConnectionId

from mpgameserver._core.connection_ids import MAX_CONNECTION_IDS
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.further_ids import MAX_RETIRED
from mpgameserver.server.resets import ResetTokens

ELSEWHERE = ("198.51.100.7", 4000)
NEAR = LinkConditions(latency=0.02)
LONGEST_MEMORY = 4.0
"""Seconds: above three probe timeouts of any of these sessions."""


@pytest.fixture
def world() -> World:
    return World(Recorder(), NEAR)


@pytest.fixture
def player(world: World) -> Player2:
    player = Player2(world).join()
    world.run(0.5)
    return player


def test_they_are_of_its_worker_and_have_the_tokens_of_its_host(player: Player2) -> None:
    session = player.peer._session
    assert len(player.peer.connection_ids) == MAX_CONNECTION_IDS
    assert len(set(player.peer.connection_ids)) == MAX_CONNECTION_IDS
    tokens = ResetTokens(ROOT_KEY)
    for sequence in range(1, MAX_CONNECTION_IDS):
        connection_id, token = session.ids[sequence]
        assert connection_id[0] == 0
        assert token == tokens.of(connection_id)


def test_nobody_has_them_who_is_not_accepted(world: World) -> None:
    player = Player2(world)
    player.is_held = True  # it says nothing of its own in its session
    world.run(0.5)
    world.say(player.peer.packet_of(Ping()), address=player.address)
    assert list(world.engine.sessions.by_id) == [player.connection_id]


def test_a_client_that_moves_goes_on_under_another_and_gets_a_new_one(
    world: World, player: Player2
) -> None:
    before, since = player.peer.connection_ids, len(player.sent)
    player.address = ELSEWHERE
    player.peer.change_id()
    player.peer.say(0, b"here I am")
    world.run(1.0)
    assert {each[1:9] for each in player.sent[since:]} == {before[1]}
    assert world.handler.messages == [b"here I am"]
    assert len(player.peer.connection_ids) == MAX_CONNECTION_IDS
    assert player.peer.connection_ids[:-1] == before[1:]


def test_a_retired_one_serves_for_three_probe_timeouts(world: World, player: Player2) -> None:
    former = player.peer._id
    late = player.peer.packet_of(Ping())
    player.peer.change_id()
    world.run(0.1)
    assert former in world.engine.sessions.by_id
    received = world.engine.sessions.by_id[former].connection.endpoint.received
    world.say(late, address=player.address)
    assert world.engine.sessions.by_id[former].connection.endpoint.received == received + 1
    world.run(LONGEST_MEMORY)
    assert former not in world.engine.sessions.by_id
    assert len(world.engine.sessions.by_id) == MAX_CONNECTION_IDS


def test_a_client_that_retires_without_end_holds_a_bounded_number(
    world: World, player: Player2
) -> None:
    player.is_held = True
    for sequence in range(60):
        player.peer._id = player.peer._session.ids[sequence + 1][0]
        player.peer._session.retired.add(sequence)
        retire = player.peer.packet_of(RetireConnectionId(sequence))
        for datagram in world.say(retire, address=player.address):
            player.peer.receive(datagram)
    assert player.peer.closed is None
    assert len(world.engine.sessions.by_id) == MAX_CONNECTION_IDS + MAX_RETIRED


def test_they_go_with_the_session(world: World, player: Player2) -> None:
    player.peer.change_id()
    world.run(0.1)
    player.peer.close()
    world.run(1.0)
    assert not world.engine.sessions.by_id
    assert not world.engine.ids._sources
    assert not world.engine.ids._remembering


def test_a_close_under_any_of_them_is_acked_again(world: World, player: Player2) -> None:
    player.peer.change_id()
    world.run(0.2)
    player.is_held = True
    [_] = world.say(player.peer.packet_of(Close(0, b"")), address=player.address)
    again = player.peer.packet_of(Close(0, b""))
    assert len(world.say(again, address=player.address)) == 1


def test_no_reset_is_sent_for_any_of_them_while_the_session_lives(
    world: World, player: Player2
) -> None:
    for connection_id in player.peer.connection_ids:
        assert world.say(b"\x08" + connection_id + bytes(30), address=ELSEWHERE) == []
