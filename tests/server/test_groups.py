"""Groups of clients: who is in them, and what is sent to them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from support.serverworld import Recorder, World

from mpgameserver.enums import RetryMode
from mpgameserver.server import EventHandler, ServerContext
from mpgameserver.server.groups import Group


def test_a_message_reaches_the_clients_of_a_group_but_those_excluded() -> None:
    world = World()
    players = [world.join() for _ in range(4)]
    red = world.context.group("red")
    for player in players[:3]:
        red.add(world.client_of(player))
    red.send(b"news", RetryMode.RETRY_ON_TIMEOUT, exclude=[world.client_of(players[1])])
    world.run(0.5)
    assert [player.messages for player in players] == [[b"news"], [], [b"news"], []]


def test_a_group_is_found_by_its_name_as_long_as_it_has_clients_or_is_kept() -> None:
    world = World()
    client = world.client_of(world.join())
    world.context.group("red").add(client)
    gc.collect()
    red = world.context.group("red")
    assert list(red) == [client]
    assert client in red
    red.discard(client)
    assert world.context.group("red") is red
    assert len(red) == 0
    del red
    gc.collect()
    assert len(world.context._groups._groups) == 0


def test_adding_and_discarding_are_idempotent() -> None:
    world = World()
    red, client = world.context.group("red"), world.client_of(world.join())
    red.discard(client)
    red.add(client)
    red.add(client)
    assert list(red) == [client]
    red.discard(client)
    red.discard(client)
    assert list(red) == []


def test_membership_ends_with_the_session_after_its_disconnect_event() -> None:
    seen: list[Any] = []
    world = World(Recorder(disconnect=lambda client: seen.append(client in red)))
    red: Group = world.context.group("red")
    player, other = world.join(), world.join()
    client = world.client_of(player)
    red.add(client)
    red.add(world.client_of(other))
    player.connection.disconnect(world.now)
    world.run(1)
    assert seen == [True]
    assert list(red) == [world.client_of(other)]
    red.add(client)  # too late
    assert client not in red


def test_a_loop_over_a_group_may_change_it() -> None:
    world = World()
    red = world.context.group("red")
    for _ in range(3):
        red.add(world.client_of(world.join()))
    for client in red:
        red.discard(client)
    assert len(red) == 0


def test_mistakes_are_raised_at_once() -> None:
    world = World()
    with pytest.raises(TypeError, match="name must be a str, not int"):
        world.context.group(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="client must be a ServerClient"):
        world.context.group("red").add("somebody")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no channel 'chat'"):
        world.context.group("red").send(b"", channel="chat")
    with pytest.raises(ValueError, match="7 is not a valid RetryMode"):
        world.context.group("red").send(b"", 7)


def test_a_group_says_what_it_is() -> None:
    assert repr(World().context.group("red")) == "<Group 'red' of 0 clients>"


def test_a_context_that_nobody_has_any_more_is_gone_at_once() -> None:
    """With the files that it has opened: the access log, the trace."""
    gc.disable()
    try:
        context = ServerContext(EventHandler())
        context.group("red")
        gone = weakref.ref(context)
        del context
        assert gone() is None
    finally:
        gc.enable()
