"""A game's handler and clients in a `World`: virtual time, seeded links, nothing real."""

from __future__ import annotations

import doctest
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mpgameserver import (
    ConnectFailure,
    ConnectionStatus,
    DisconnectReason,
    EventHandler,
    NotConnectedError,
    Reconnector,
    RetryMode,
    ServerClient,
    ServerContext,
    UdpClient,
    testing,
)
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.limits import Limits
from mpgameserver.testing import FRAME, World

LOSSY = LinkConditions(loss=0.3, latency=0.05, jitter=0.03)
DEAD = LinkConditions(loss=1.0)


class Echo(EventHandler):
    """Sends back what comes, and writes down its events."""

    def __init__(self, **on: Callable[..., object]) -> None:
        self.on = on
        self.events: list[tuple[Any, ...]] = []

    def _record(self, name: str, *arguments: object) -> None:
        self.events.append((name, *arguments))
        self.on.get(name, lambda *_: None)(*arguments)

    def starting(self) -> None:
        self._record("starting")

    def shutdown(self) -> None:
        self._record("shutdown")

    def connect(self, client: ServerClient) -> None:
        self._record("connect", client)

    def disconnect(self, client: ServerClient) -> None:
        self._record("disconnect", client, client.reason)

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self._record("handle_message", client, msg)
        client.send_guaranteed(msg)


def received(client: UdpClient) -> list[bytes]:
    return [message for _, message in client.getMessages()]


def test_the_example_of_the_module() -> None:
    failed, attempted = doctest.testmod(testing)
    assert (failed, attempted > 0) == (0, True)


class TestWorld:
    def test_events_and_messages_are_those_of_a_real_server(self) -> None:
        handler = Echo()
        world = World(handler)
        client = world.connect()
        client.send_guaranteed(b"hello")
        world.run(0.2)
        assert received(client) == [b"hello"]
        of_the_server = world.server_client(client)
        client.disconnect()
        world.run(0.5)
        world.context.shutdown()
        world.run(0.1)
        assert handler.events == [
            ("starting",),
            ("connect", of_the_server),
            ("handle_message", of_the_server, b"hello"),
            ("disconnect", of_the_server, DisconnectReason.CLIENT),
            ("shutdown",),
        ]

    def test_any_object_with_an_event_is_a_handler(self) -> None:
        class Ticks:
            seconds = 0.0

            def update(self, delta_t: float) -> None:
                self.seconds += delta_t

        ticks = Ticks()
        World(ticks).run(10)
        assert ticks.seconds == pytest.approx(10, abs=1 / 60)

    def test_a_context_brings_its_settings(self) -> None:
        context = ServerContext(Echo(), limits=Limits(clients=1))
        world = World(context)
        assert world.context is context
        world.connect()
        with pytest.raises(AssertionError, match="no connection"):
            world.connect()

    def test_clients_are_on_hosts_of_their_own(self) -> None:
        world = World(ServerContext(Echo(), limits=Limits(clients_per_host=1)))
        hosts = {world.server_client(world.connect()).addr[0] for _ in range(5)}
        assert len(hosts) == 5

    def test_a_context_is_of_one_world_until_the_server_has_stopped(self) -> None:
        world = World(Echo())
        with pytest.raises(RuntimeError, match="another server"):
            World(world.context)
        world.context.shutdown()
        world.run(0.1)
        World(world.context).connect()

    def test_events_that_need_an_event_loop_are_refused(self) -> None:
        class Slow:
            async def connect(self, client: ServerClient) -> None: ...

        with pytest.raises(TypeError, match=r"connect of .* is a coroutine function"):
            World(Slow())

    def test_no_socket_and_no_thread_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object, **options: object) -> None:
            raise AssertionError("something real was asked for")

        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        monkeypatch.setattr(time, "sleep", refuse)
        client = World(Echo(), LOSSY).connect()
        client.waitForDisconnect()
        assert client.status() is ConnectionStatus.DISCONNECTED


class TestTime:
    def test_passes_by_the_frame_and_exactly(self) -> None:
        world = World(Echo())
        world.frame()
        assert world.now == FRAME
        world.run(1 - FRAME)
        assert world.now == 1.0
        world.run(59)
        assert world.now == 60.0
        world.run(FRAME / 2)
        assert world.now == 60.0 + FRAME
        world.run(0)
        assert world.now == 60.0 + FRAME

    @pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
    def test_of_no_length_is_refused(self, seconds: float) -> None:
        world = World(Echo())
        with pytest.raises(ValueError, match=f"not {seconds}"):
            world.run(seconds)
        assert world.now == 0

    def test_cannot_pass_within_an_event(self) -> None:
        world = World(Echo(connect=lambda client: world.run(1)))
        with pytest.raises(RuntimeError, match="within an event"):
            world.connect()
        world.run(1)

    def test_passes_until_a_condition_holds(self) -> None:
        world = World(Echo(), seed=42)
        world.run_until(lambda: world.now >= 2.5)
        assert world.now == 2.5
        with pytest.raises(AssertionError, match=r"within 0\.5 s.*World seed 42"):
            world.run_until(lambda: False, timeout=0.5)
        assert world.now == 3.0

    def test_of_statistics_and_reconnectors_is_that_of_the_world(self) -> None:
        world = World(Echo())
        client = world.client()
        reconnector = Reconnector(client, world.address, first_delay=1.0)
        while not client.connected():
            reconnector.update()
            world.frame()
        assert world.now < 1
        world.set_conditions(client, DEAD)
        world.run(5.1)
        reconnector.update()
        assert client.status() is ConnectionStatus.DROPPED
        assert 0.5 <= reconnector.delay_left <= 1.0
        assert len(client.stats().latency) >= 5


class TestWhatAnEventRaises:
    def test_comes_out_of_run(self) -> None:
        def fail(*arguments: object) -> None:
            raise KeyError("no such room")

        world = World(Echo(handle_message=fail))
        client = world.connect()
        client.send(b"join")
        with pytest.raises(KeyError, match="no such room"):
            world.run(1)
        world.run(1)
        assert client.connected()

    def test_in_starting_comes_out_of_the_constructor(self) -> None:
        def fail() -> None:
            raise KeyError("no such map")

        with pytest.raises(KeyError, match="no such map"):
            World(Echo(starting=fail))


class TestLinks:
    def test_what_is_reliable_arrives_once_whatever_the_seed(self) -> None:
        for seed in range(10):
            handler = Echo()
            world = World(handler, LOSSY, seed=seed)
            client = world.connect()
            sent = [b"%d" % number for number in range(20)]
            for message in sent:
                client.send_guaranteed(message)
            world.run(5)
            assert sorted(received(client)) == sorted(sent), world

    def test_the_same_seed_gives_the_same_course(self) -> None:
        assert course(seed=1) == course(seed=1)
        assert course(seed=1) != course(seed=2)

    def test_delay_messages_both_ways(self) -> None:
        world = World(Echo(), LinkConditions(latency=0.25))
        client = world.connect()
        sent_at = world.now
        client.send(b"ping", RetryMode.NONE)
        world.run_until(client.hasMessages)
        assert 0.5 <= world.now - sent_at <= 0.5 + 4 * FRAME
        assert client.latency() >= 0.5
        assert world.server_client(client).latency >= 0.5

    def test_of_one_client_can_be_worse(self) -> None:
        world = World(Echo())
        near, far = world.connect(), world.connect(LinkConditions(latency=0.2))
        world.run(1)
        assert near.latency() < 0.1 < far.latency()

    def test_can_change(self) -> None:
        handler = Echo()
        world = World(handler)
        client = world.connect()
        world.set_conditions(client, DEAD)
        world.run(6)
        assert client.status() is ConnectionStatus.DROPPED
        assert handler.events[-1][-1] is DisconnectReason.TIMEOUT
        client.connect(world.address)
        world.run(6)
        assert client.failure is ConnectFailure.TIMEOUT
        world.set_conditions(client, LinkConditions())
        client.connect(world.address)
        world.run(1)
        assert client.connected()

    def test_of_a_client_of_another_world_cannot(self) -> None:
        with pytest.raises(ValueError, match="client of <World seed 5"):
            World(Echo(), seed=5).set_conditions(World(Echo()).client(), DEAD)


def course(seed: int) -> list[object]:
    """The events of a client and its server, with their times."""
    world, seen = World(Echo(), LOSSY, seed), []
    client = world.connect()
    for number in range(100):
        client.send(b"%d" % number, RetryMode.NONE)
        world.run(1 / 30)
        seen += [(world.now, client.latency(), received(client), world.stats.clients)]
    return seen


class TestClients:
    def test_are_udp_clients(self) -> None:
        outcomes: list[bool] = []
        world = World(Echo())
        client = world.client()
        assert isinstance(client, UdpClient)
        assert client.status() is ConnectionStatus.DISCONNECTED
        with pytest.raises(NotConnectedError):
            client.send(b"too early")
        client.connect(("game.example.org", 1), outcomes.append)
        world.run(1)
        client.send(b"hello", callback=outcomes.append)
        world.run(1)
        assert outcomes == [True, True]
        assert client.getMessage()[1] == b"hello"
        assert client.token() == world.server_client(client).token
        assert client.fileno() == -1

    def test_may_be_updated_by_the_game_as_well(self) -> None:
        world = World(Echo(), LOSSY)
        client = world.connect()
        client.send_guaranteed(b"hello")
        for _ in range(600):
            world.frame()
            client.update()
        assert received(client) == [b"hello"]

    def test_wait_for_the_end_in_virtual_time(self) -> None:
        world = World(Echo(), LinkConditions(latency=0.1))
        client = world.connect()
        began = world.now
        client.waitForDisconnect()
        assert client.status() is ConnectionStatus.DISCONNECTED
        assert world.now - began == pytest.approx(0.2, abs=2 * FRAME)
        assert world.clients == ()

    def test_tell_the_server_of_a_forced_end(self) -> None:
        handler = Echo()
        world = World(handler, LinkConditions(latency=0.1))
        with world.connect():
            pass
        world.run(0.2)
        assert handler.events[-1][-1] is DisconnectReason.CLIENT

    def test_that_fail_to_connect_say_why_and_with_which_seed(self) -> None:
        world = World(Echo(), DEAD, seed=42)
        with pytest.raises(AssertionError, match=r"did not answer in time.*World seed 42"):
            world.connect()
        assert world.now == pytest.approx(5, abs=2 * FRAME)

    def test_that_are_not_connected_are_not_on_the_server(self) -> None:
        world = World(Echo(), seed=42)
        with pytest.raises(ValueError, match=r"no session.*World seed 42"):
            world.server_client(world.client())


def test_the_repr_has_the_seed() -> None:
    world = World(Echo(), seed=42)
    world.connect()
    world.client()
    world.run(1 - world.now)
    assert repr(world) == "<World seed 42, 1.000 s, 1 of 2 clients connected>"
