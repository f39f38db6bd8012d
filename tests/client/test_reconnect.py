"""When a Reconnector connects its client again, on a clock of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from support.echo import EchoServer

from mpgameserver import ConnectionStatus, Reconnector, ReconnectState, UdpClient
from mpgameserver.client.reconnect import FIRST_DELAY, MAX_DELAY, MIN_JITTER, STABLE_AFTER

ADDRESS = ("192.0.2.1", 1474)


class ScriptedClient(UdpClient):
    """A client whose status is what the test says, and that counts its attempts."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ConnectionStatus.DISCONNECTED
        self.attempts: list[tuple[str, int]] = []
        self.updates = 0

    def status(self) -> ConnectionStatus:
        return self.state

    def connect(self, addr: tuple[str, int], callback: object = None) -> None:
        self.attempts.append(addr)
        self.state = ConnectionStatus.CONNECTING

    def update(self) -> None:
        self.updates += 1


class World:
    """A client, its Reconnector, and the time."""

    def __init__(self, seed: int, **options: float) -> None:
        self.now = 100.0
        self.client = ScriptedClient()
        self.reconnector = Reconnector(
            self.client, ADDRESS, rng=random.Random(seed), clock=lambda: self.now, **options
        )

    def ends(self, status: ConnectionStatus = ConnectionStatus.DISCONNECTED) -> None:
        self.client.state = status
        self.reconnector.update()

    def connects(self) -> None:
        self.client.state = ConnectionStatus.CONNECTED
        self.reconnector.update()

    def wait(self) -> float:
        """Let the delay pass; how long it was."""
        delay = self.reconnector.delay_left
        assert self.reconnector.state is ReconnectState.WAITING
        attempts = len(self.client.attempts)
        self.now += delay * 0.99
        self.reconnector.update()
        assert len(self.client.attempts) == attempts
        self.now += delay * 0.02
        self.reconnector.update()
        assert len(self.client.attempts) == attempts + 1
        return delay


@pytest.fixture
def world(seed: int) -> World:
    return World(seed)


def test_the_first_attempt_is_made_at_once(world: World) -> None:
    assert world.reconnector.state is ReconnectState.CONNECTING
    world.reconnector.update()
    assert world.client.attempts == [ADDRESS]
    assert world.client.updates == 1
    world.reconnector.update()
    assert world.client.attempts == [ADDRESS]
    world.connects()
    assert world.reconnector.state is ReconnectState.CONNECTED


def test_each_failed_attempt_doubles_the_delay_up_to_a_limit(world: World) -> None:
    world.reconnector.update()
    longest = FIRST_DELAY
    for failures in range(1, 12):
        world.ends()
        assert world.reconnector.failures == failures
        assert MIN_JITTER * longest <= world.wait() <= longest
        longest = min(2 * longest, MAX_DELAY)
    assert longest == MAX_DELAY


def test_two_players_do_not_return_at_the_same_moment(seed: int) -> None:
    delays = set()
    for i in range(50):
        world = World(seed + i)
        world.connects()
        world.now += STABLE_AFTER
        world.ends(ConnectionStatus.DROPPED)
        delays.add(world.reconnector.delay_left)
    assert len(delays) == 50
    assert max(delays) - min(delays) > FIRST_DELAY / 4


@pytest.mark.parametrize("end", [ConnectionStatus.DROPPED, ConnectionStatus.DISCONNECTED])
def test_a_connection_that_lasted_starts_the_delays_over(world: World, end: object) -> None:
    world.reconnector.update()
    for _ in range(5):
        world.ends()
        world.wait()
    world.connects()
    world.now += STABLE_AFTER
    world.ends(end)  # type: ignore[arg-type]
    assert world.reconnector.failures == 0
    assert world.wait() <= FIRST_DELAY


def test_a_connection_that_ends_at_once_is_a_failed_attempt(world: World) -> None:
    for failures in range(1, 6):
        world.reconnector.update()
        world.now += world.reconnector.delay_left
        world.reconnector.update()
        world.connects()
        world.now += STABLE_AFTER / 2
        world.ends()
        assert world.reconnector.failures == failures
    assert world.reconnector.delay_left >= MIN_JITTER * 2**4 * FIRST_DELAY


def test_it_gives_up_after_as_many_failures_as_it_was_told(seed: int) -> None:
    world = World(seed, max_attempts=3)
    world.reconnector.update()
    for _ in range(2):
        world.ends()
        world.wait()
    world.ends()
    assert world.reconnector.state is ReconnectState.GAVE_UP
    assert world.reconnector.delay_left == 0.0
    world.now += 1000
    world.reconnector.update()
    assert len(world.client.attempts) == 3


def test_it_does_not_connect_again_once_it_was_stopped(world: World) -> None:
    world.reconnector.update()
    world.connects()
    world.reconnector.stop()
    world.ends()
    world.now += 1000
    updates = world.client.updates
    world.reconnector.update()
    assert world.reconnector.state is ReconnectState.STOPPED
    assert world.client.attempts == [ADDRESS]
    assert world.client.updates == updates + 1


def test_thousands_of_failures_are_no_overflow(world: World) -> None:
    world.reconnector.update()
    for _ in range(2000):
        world.ends()
        world.now += world.reconnector.delay_left
        world.reconnector.update()
    assert world.reconnector.failures == 2000


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"addr": "192.0.2.1:1474"}, TypeError),
        ({"addr": ("192.0.2.1", 0)}, ValueError),
        ({"client": object()}, TypeError),
        ({"first_delay": 0}, ValueError),
        ({"max_delay": 0.1}, ValueError),
        ({"max_attempts": 0}, ValueError),
        ({"max_attempts": 1.5}, TypeError),
        ({"max_attempts": True}, TypeError),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], error: type[Exception]) -> None:
    given = {"client": UdpClient(), "addr": ADDRESS} | arguments
    with pytest.raises(error):
        Reconnector(given.pop("client"), given.pop("addr"), **given)  # type: ignore[arg-type]


def test_the_repr_says_what_it_is_doing(world: World) -> None:
    assert repr(world.reconnector) == "<Reconnector connecting, 0 failed>"
    world.reconnector.update()
    world.ends()
    world.reconnector._next_attempt = world.now + 2.0
    assert repr(world.reconnector) == "<Reconnector waiting, next attempt in 2.0 s, 1 failed>"


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


def test_a_client_comes_back_to_a_server_that_was_restarted(server: EchoServer) -> None:
    with UdpClient(server.public_key) as client:
        reconnector = Reconnector(client, server.address, first_delay=0.01)
        for _ in range(2):
            while reconnector.state is not ReconnectState.CONNECTED:
                reconnector.update()
            token = client.token()
            client.forceDisconnect()  # what the client sees of a server that goes away
            reconnector.update()
            assert reconnector.state is ReconnectState.WAITING
        while reconnector.state is not ReconnectState.CONNECTED:
            reconnector.update()
        assert client.token() not in (0, token)
