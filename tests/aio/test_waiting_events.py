"""Messages that wait for a server's coroutines, bounded per client, per host and in all."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.keyholder import KeyHolder
from support.serverworld import World

from mpgameserver.aio import AsyncClient, lingering
from mpgameserver.aio import server as aioserver
from mpgameserver.aio.server import EVENT_COST, MAX_EVENTS_AT_ONCE, MAX_WAITING_EVENTS, AsyncEvents
from mpgameserver.client import UdpClient
from mpgameserver.enums import DisconnectReason, PacketType
from mpgameserver.server import ServerClient
from mpgameserver.server.handler import EventHandler

SIZE = 60_000


class Slow(EventHandler):
    """A handler whose coroutines wait until `go_on` is set; "now" is handled at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.handled: list[bytes] = []
        self.gone: list[ServerClient] = []

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> Any:
        self.handled.append(msg)
        return None if msg == b"now" else self.go_on.wait()

    def disconnect(self, client: ServerClient) -> None:
        self.gone.append(client)


Test = Callable[[World, AsyncEvents, Slow], Coroutine[Any, Any, None]]


def served(test: Test, kind: type[Slow] = Slow) -> None:
    """Run a coroutine with a server in memory whose handler waits."""

    async def main() -> None:
        handler = kind()
        events = AsyncEvents(handler)
        await test(World(events), events, handler)
        handler.go_on.set()
        await events.settle()
        assert (events.running, events.waiting, events.waiting_bytes) == (0, 0, 0)
        assert (events._waiting_of_all, events._waiting_of_groups) == (0, {})
        assert (len(events._lingering), len(events._given_up)) == (0, 0)

    asyncio.run(main())


def fill(peer: KeyHolder, count: int, size: int = SIZE) -> None:
    """Have a peer send messages of a size, behind one for which the handler waits."""
    for _ in range(count):
        peer.send(peer.packet(bytes(size)))


def test_little_is_kept_of_what_waits_of_clients_that_are_gone() -> None:
    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        for round_ in range(1, 7):
            peer = KeyHolder(world)
            fill(peer, 100)
            assert events.waiting_bytes == (99 + round_ - 1) * SIZE
            peer.send(peer.packet(b"", kind=PacketType.DISCONNECT))
            assert events.waiting_bytes == round_ * SIZE
            assert events.dropped == 98 * round_
        assert world.engine.clients == ()
        assert handler.gone == []
        handler.go_on.set()
        await events.settle()
        assert [client.reason for client in handler.gone] == [DisconnectReason.CLIENT] * 6
        assert len(handler.handled) == 12

    served(test)


def test_what_a_player_says_last_is_handled() -> None:
    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        peer = KeyHolder(world)
        words = [b"%d" % i for i in range(100)]
        peer.send(*[peer.packet(word) for word in words])
        peer.send(peer.packet(b"", kind=PacketType.DISCONNECT))
        handler.go_on.set()
        await events.settle()
        assert handler.handled == words
        assert [client.reason for client in handler.gone] == [DisconnectReason.CLIENT]

    served(test)


def test_the_clients_of_one_host_share_a_bound_and_the_largest_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aioserver, "MAX_HOST_WAITING_BYTES", 30 * SIZE)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        small = KeyHolder(world, "192.0.2.7", 1)
        large = KeyHolder(world, "192.0.2.7", 2)
        elsewhere = KeyHolder(world, "192.0.2.8", 1)
        fill(elsewhere, 29)
        fill(large, 20)
        fill(small, 15)
        assert [client.addr for client in world.engine.clients] == [
            small.address,
            elsewhere.address,
        ]
        assert events.waiting_bytes == (28 + 14) * SIZE
        world.run(1.1)
        handler.go_on.set()
        await events.settle()
        assert [client.addr for client in handler.gone] == [large.address]
        assert handler.gone[0].reason is DisconnectReason.KICKED

    served(test)


def test_all_share_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioserver, "MAX_ALL_WAITING_BYTES", 50 * SIZE)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        peers = [KeyHolder(world) for _ in range(10)]
        for i, peer in enumerate(peers):
            fill(peer, 5 + i)
            assert events._waiting_of_all <= 50 * SIZE
        assert len(world.engine.clients) < 10
        assert peers[0].address in {client.addr for client in world.engine.clients}

    served(test)


@pytest.mark.parametrize(
    ("network", "shares"), [("2001:db8:0:{:x}::1", 2), ("2001:db8:0:{:x}00::1", 4)]
)
def test_an_ipv6_network_has_a_few_shares_of_it(
    network: str, shares: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioserver, "MAX_HOST_WAITING_BYTES", 4 * SIZE)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        for i in range(1, 13):
            fill(KeyHolder(world, network.format(i), 5000), 4)
            assert events._waiting_of_all <= shares * 4 * SIZE
        fill(KeyHolder(world), 4)
        assert len(world.engine.clients) > shares

    served(test)


class Stuck(Slow):
    """The events of a client that is gone do not end either."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[ServerClient] = []
        self.cancelled: list[ServerClient] = []

    async def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        await self._wait(client)

    async def disconnect(self, client: ServerClient) -> None:
        self.saved.append(client)
        await self._wait(client)

    async def _wait(self, client: ServerClient) -> None:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(client)
            raise


@pytest.mark.parametrize(("bound", "hosts"), [("MAX_LINGERING", 12), ("MAX_LINGERING_PER_HOST", 1)])
def test_events_of_clients_that_are_gone_may_end_but_not_without_number(
    bound: str, hosts: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lingering, bound, 4)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        assert isinstance(handler, Stuck)
        peers = []
        for i in range(12):
            peer = KeyHolder(world, f"192.0.2.{1 + i % hosts}", 5000 + i)
            peers.append(world.client_of(peer))
            peer.send(peer.packet(b"stuck"))
            peer.send(peer.packet(b"", kind=PacketType.DISCONNECT))
            for _ in range(10):
                await asyncio.sleep(0)
            assert events.running <= 8
        order = [0, 1, 2, 3, 4, 0, 5, 1, 6, 2, 7, 3]  # the first four also in their `disconnect`
        assert handler.cancelled == [peers[i] for i in order]
        assert handler.saved == peers[:8]
        assert "its event does not end: cancelled" in caplog.text
        assert "raised" not in caplog.text
        handler.go_on.set()
        await events.settle()
        assert handler.saved == peers

    served(test, Stuck)


def test_those_that_stay_are_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "MAX_LINGERING", 1)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        for i in range(5):
            fill(KeyHolder(world, f"192.0.2.{i + 1}", 5000), 2)
        for _ in range(5):
            await asyncio.sleep(0)
        assert events.running == 5
        handler.go_on.set()
        await events.settle()
        assert len(handler.handled) == 10

    served(test)


def test_empty_messages_are_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioserver, "MAX_HOST_WAITING_BYTES", 100 * EVENT_COST)

    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        peers = [KeyHolder(world, "192.0.2.7", port) for port in range(1, 6)]
        for peer in peers:
            fill(peer, 40, 0)
            assert events._waiting_of_all <= 100 * EVENT_COST
        assert len(world.engine.clients) < 5

    served(test)


def test_the_loop_has_its_turn_between_events_that_are_handled_at_once() -> None:
    async def test(world: World, events: AsyncEvents, handler: Slow) -> None:
        peer, counts = KeyHolder(world), []

        def look() -> None:
            counts.append(len(handler.handled))
            if counts[-1] < MAX_WAITING_EVENTS:
                asyncio.get_running_loop().call_soon(look)

        peer.send(peer.packet(b"wait"))
        for _ in range(MAX_WAITING_EVENTS // 64):
            peer.send(peer.packet(*[b"now"] * 64))
        handler.go_on.set()
        look()
        await events.settle()
        assert len(handler.handled) == 1 + MAX_WAITING_EVENTS
        steps = [after - before for before, after in itertools.pairwise(counts)]
        assert max(steps) <= MAX_EVENTS_AT_ONCE

    served(test)


class Full:
    """A client that always has another message."""

    def hasMessages(self) -> bool:
        return True

    def getMessage(self) -> tuple[int, bytes]:
        return 1, b"!"


def test_the_loop_has_its_turn_while_a_client_takes_what_has_arrived() -> None:
    async def main() -> int:
        turns, left = 0, 640

        def count() -> None:
            nonlocal turns
            turns += 1
            if left:
                asyncio.get_running_loop().call_soon(count)

        full: Any = Full()
        count()
        async for _ in AsyncClient(full):
            left -= 1
            if left == 0:
                break
        return turns

    assert asyncio.run(main()) >= 10


class Meddling(logging.Handler):
    """Has every event of a server end with the first line."""

    def __init__(self, events: AsyncEvents) -> None:
        super().__init__()
        self.events, self.lines = events, 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        self.events._lines.clear()


def test_a_handler_of_the_log_may_end_events_while_those_that_hang_are_told() -> None:
    async def main() -> None:
        handler = Slow()
        events = AsyncEvents(handler)
        for key in ("update", "full"):
            events._begin(key, key, handler.go_on.wait())
        meddling = Meddling(events)
        log = logging.getLogger("mpgameserver.server")
        log.addHandler(meddling)
        try:
            running = events._running()
            await events.settle(0.0)
        finally:
            log.removeHandler(meddling)
        assert meddling.lines == 2
        handler.go_on.set()
        await asyncio.wait(running)

    asyncio.run(main())


def test_a_wait_that_a_finalizer_ends_while_others_are_woken_harms_nothing() -> None:
    async def main() -> None:
        client = AsyncClient(UdpClient())

        class Waiter(asyncio.Future[None]):
            def set_result(self, result: None) -> None:
                super().set_result(result)
                client._waiters[0].discard(self)

        waiters = [Waiter() for _ in range(3)]
        client._waiters[0].update(waiters)
        client._wake()
        assert all(waiter.done() for waiter in waiters)

    asyncio.run(main())
