"""Whole sessions in which finalizers call everything that is public, wherever one can run.

The garbage collector runs them at nearly every allocation: in compiled code until Python 3.11,
between any two instructions of Python code later.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from support.finalizers import Finalizing

from mpgameserver import (
    EventHandler,
    Limits,
    NotConnectedError,
    RetryMode,
    ServerContext,
    UdpClient,
    UdpServer,
)
from mpgameserver.crypto import EllipticCurvePrivateKey

PATIENCE = 30.0
"""Seconds that a session may take: it takes a tenth of one where nothing is stuck."""
SEEDS = 5
SESSIONS = 20
FINALIZERS = 4
ALLOCATIONS = range(1, 9)
"""After so many in a call its finalizers run."""
REFUSALS = (RuntimeError, NotConnectedError, IndexError)
"""Errors of calls that cannot be nested, of a closed connection, and of an empty inbox."""
MEDDLED = b"from a finalizer"
ROOT_KEY = EllipticCurvePrivateKey.new()


Action = Callable[[], object]


class Echo(EventHandler):
    """Echoes what it gets, and counts the sessions that ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def disconnect(self, client) -> None:
        self.ended.append(client.reason.value)

    def handle_message(self, client, seqnum: int, msg: bytes = b"") -> None:
        if msg != MEDDLED:
            client.send(msg, RetryMode.RETRY_ON_TIMEOUT)


class World:
    """A client and a server on loopback, in one thread, and what finalizers may do to them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.handler = Echo()
        self.context = ServerContext(self.handler, ROOT_KEY)
        self.server = UdpServer(self.context, ("127.0.0.1", 0), install_signals=False)
        self.client = UdpClient(ROOT_KEY.getPublicKey())
        self.got: list[bytes] = []
        self.raised: list[BaseException] = []
        self.outcomes: list[tuple[int, bool]] = []

    def connect(self) -> None:
        self.client.connect(self.server.address)

    def take(self) -> None:
        self.got += [message for _, message in self.client.getMessages()]

    def take_one(self) -> None:
        self.got.append(self.client.getMessage()[1])

    def send(self, number: int, message: bytes, retry: RetryMode) -> None:
        self.client.send(message, retry, lambda acked: self.outcomes.append((number, acked)))

    def of_each_player(self, call: Callable[[object], object]) -> None:
        for player in self.server.clients:
            call(player)

    def harmless(self) -> list[Action]:
        """Calls after which a session goes on."""
        client, server, context = self.client, self.server, self.context
        return [
            *(client.update, self.take, self.take_one, client.hasMessages, client.stats),
            *(client.latency, client.status, client.token, client.fileno, client.filenos),
            *(client.next_timer, client.connected, lambda: client.pending, lambda: repr(client)),
            lambda: client.send(MEDDLED),
            lambda: client.send_guaranteed(MEDDLED),
            lambda: client.setKeepAliveInterval(0.1),
            lambda: client.setMessageTimeout(1.0),
            lambda: client.setConnectionTimeout(5.0),
            *(server.update, server.next_timer, server.fileno, lambda: server.stats),
            *(lambda: server.clients, lambda: server.address, lambda: repr(server)),
            *(lambda: server.wants_write, lambda: server.now, server.wake),
            lambda: context.broadcast(MEDDLED),
            lambda: context.call_soon_threadsafe(gc.collect),
            lambda: context.setInterval(1 / 60),
            lambda: context.setBlockList(["192.0.2.0/24"]),
            lambda: setattr(context, "limits", Limits(clients=100)),
            lambda: context.setKeepAliveInterval(0.1),
            lambda: self.of_each_player(lambda player: player.send(MEDDLED)),
            lambda: self.of_each_player(repr),
        ]

    def sends(self) -> list[Action]:
        """Calls that may come between a message and the next."""
        return [
            lambda: self.client.send(MEDDLED),
            lambda: self.of_each_player(lambda player: player.send(MEDDLED)),
            self.client.update,
            self.server.update,
        ]

    def ends(self) -> list[Action]:
        """Calls that end a session, or begin another."""
        return [
            self.client.forceDisconnect,
            self.client.disconnect,
            self.connect,
            lambda: self.of_each_player(lambda player: player.disconnect()),
        ]

    def meddled(self, call: Callable[[], object], actions: list[Action]) -> None:
        """Make a call in which a collection runs finalizers, after so many allocations."""
        gc.collect()  # empties the free lists: what is taken from them starts no collection
        for action in self.random.choices(actions, k=FINALIZERS):
            Finalizing(action, self.raised)
        gc.set_threshold(gc.get_count()[0] + self.random.choice(ALLOCATIONS), 1, 1)
        gc.enable()
        try:
            call()
        finally:
            gc.disable()

    def frame(self, actions: list[Action] | None = None) -> None:
        for call in (self.client.update, self.take, self.server.update):
            if actions is None:
                call()
            else:
                self.meddled(call, actions)

    def run_until(self, is_over: Callable[[], bool], actions: list[Action] | None = None) -> None:
        deadline = time.perf_counter() + PATIENCE
        while not is_over():
            assert time.perf_counter() < deadline
            self.frame(actions)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(request.param)
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()  # no collection looks at what earlier tests have left
    gc.disable()
    try:
        yield world
        gc.collect()
        assert [error for error in world.raised if not isinstance(error, REFUSALS)] == []
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
        world.client.forceDisconnect()
        world.server.close()


def messages_of(world: World) -> list[bytes]:
    """Of a few bytes and of thousands, in fragments, and no two alike."""
    sizes = [1 + world.random.randrange(200) for _ in range(60)] + [3000, 30_000]
    return [number.to_bytes(2, "big") * size for number, size in enumerate(sizes)]


@pytest.mark.parametrize("world", range(SEEDS), indirect=True)
def test_a_session_goes_on_whatever_finalizers_call(world: World) -> None:
    harmless = world.harmless()
    world.connect()
    world.run_until(world.client.connected, harmless)
    sent = messages_of(world)
    for number, message in enumerate(sent):
        for _ in range(2):  # several in a packet
            world.client.send(MEDDLED)
        world.meddled(
            partial(world.send, number, message, RetryMode.RETRY_ON_TIMEOUT), world.sends()
        )
        world.frame(harmless)

    def is_over() -> bool:
        return len(world.outcomes) == len(sent) and {*sent} <= {*world.got}

    world.run_until(is_over, harmless)
    assert sorted(message for message in world.got if message != MEDDLED) == sorted(sent)
    assert sorted(world.outcomes) == [(number, True) for number in range(len(sent))]
    world.client.disconnect()
    world.run_until(lambda: bool(world.handler.ended), harmless)
    assert world.handler.ended == ["closed by client"]
    assert not world.client.connected()


@pytest.mark.parametrize("world", range(SEEDS), indirect=True)
def test_a_session_that_finalizers_end_anywhere_ends_whole_and_the_next_one_works(
    world: World,
) -> None:
    queued = 0
    for _ in range(SESSIONS):
        world.connect()
        world.run_until(world.client.connected)
        for _ in range(10):
            world.send(queued, b"message" * world.random.randrange(400), RetryMode.BEST_EFFORT)
            queued += 1
        for _ in range(world.random.randrange(3)):
            world.frame(world.harmless())
        world.meddled(world.client.update, world.ends())
        world.frame()
    world.meddled(world.client.update, [world.client.waitForDisconnect])
    world.client.forceDisconnect()
    world.client.update()
    assert sorted(number for number, _ in world.outcomes) == list(range(queued))
    world.connect()
    world.run_until(world.client.connected)
    world.client.send(b"after all")
    world.run_until(lambda: b"after all" in world.got)
