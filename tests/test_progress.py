"""The progress of a long message, on the side that sends it and on the one that gets it."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.pair import ConnectionPair, received

from mpgameserver import Channel, EventHandler, ServerContext, UdpClient
from mpgameserver._core.progress import Progress
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ServerClient
from mpgameserver.testing import World

BAD = LinkConditions(loss=0.2, latency=0.03, jitter=0.01, reorder=0.1, reorder_delay=0.05)
DEAD = LinkConditions(loss=1.0)
KINDS = ("ordered", "latest", "sequenced", "unordered")
CHANNELS = [Channel(kind, kind) for kind in KINDS]
LENGTH = 200_001
"""Bytes: the last unit of 64 is not full."""
MESSAGE = bytes(range(251)) * (LENGTH // 251) + bytes(LENGTH % 251)


class Game(EventHandler):
    """Keeps what it gets, and how much of what arrives is there in each tick."""

    def __init__(self) -> None:
        self.context = ServerContext(self, channels=CHANNELS)
        self.heard: list[tuple[str, bytes]] = []
        self.channel = ""
        """The channel to look at; without a name, what has no channel."""
        self.seen: list[tuple[int, int]] = []

    def handle_message(
        self, client: ServerClient, seqnum: int, msg: bytes = b"", channel: str = ""
    ) -> None:
        self.heard.append((channel, msg))

    def update(self, delta_t: float) -> None:
        for client in self.context.clients:
            place: Any = client.channel(self.channel) if self.channel else client
            self.seen += place.arriving


@pytest.fixture
def game() -> Game:
    return Game()


@pytest.fixture
def world(game: Game) -> World:
    return World(game.context, BAD, seed=7)


class Bar:
    """A bar of progress: the order of all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def moved(self, done: int, total: int) -> None:
        self.calls.append((done, total))

    def ended(self, acked: bool) -> None:
        self.calls.append((acked,))

    @property
    def is_over(self) -> bool:
        return bool(self.calls) and len(self.calls[-1]) == 1


def check_rising(calls: list[tuple[object, ...]], total: int) -> None:
    """Check that the reports rise, that the last says all, and that the outcome comes after it."""
    assert calls[-1] == (True,)
    reports: list[Any] = [call[0] for call in calls[:-1]]
    assert {call[1] for call in calls[:-1]} == {total}
    assert reports == sorted(set(reports))
    assert reports[-1] == total


class TestSending:
    """`on_progress` hears of the bytes that are acked."""

    @pytest.mark.parametrize("kind", ["", "ordered", "latest", "unordered"])
    def test_a_client_hears_of_it_until_all_is_acked(
        self, world: World, game: Game, kind: str
    ) -> None:
        client, bar = world.connect(), Bar()
        place: Any = client.channel(kind) if kind else client
        place.send(MESSAGE, callback=bar.ended, on_progress=bar.moved)
        world.run_until(lambda: bar.is_over)
        check_rising(bar.calls, LENGTH)
        assert len(bar.calls) > 10
        assert (kind, MESSAGE) in game.heard

    @pytest.mark.parametrize("kind", ["", *KINDS])
    def test_a_server_hears_of_it_as_well(self, world: World, kind: str) -> None:
        client, bar = world.connect(LinkConditions(latency=0.05)), Bar()
        server_client = world.server_client(client)
        place: Any = server_client.channel(kind) if kind else server_client
        place.send(MESSAGE, callback=bar.ended, on_progress=bar.moved)
        world.run_until(lambda: bar.is_over)
        check_rising(bar.calls, LENGTH)
        assert len(bar.calls) > 5

    def test_a_short_one_has_one_report(self, world: World) -> None:
        client, bar = world.connect(), Bar()
        client.send_guaranteed(b"short", bar.ended, on_progress=bar.moved)
        world.server_client(client).send_guaranteed(b"", bar.ended, on_progress=bar.moved)
        world.run(2)
        assert sorted(bar.calls) == [(0, 0), (True,), (True,), (5, 5)]

    def test_the_outcome_need_not_be_asked_for(self, world: World) -> None:
        client, bar = world.connect(), Bar()
        client.channel("ordered").send(MESSAGE, on_progress=bar.moved)
        world.run(5)
        assert bar.calls[-1] == (LENGTH, LENGTH)

    def test_an_update_reports_once_however_many_acks_it_takes(self, world: World) -> None:
        client, bar = world.connect(LinkConditions(latency=0.05)), Bar()
        client.send(MESSAGE, callback=bar.ended, on_progress=bar.moved)
        while not bar.is_over:
            before = len(bar.calls)
            acked = client.stats().acked
            world.frame()
            assert len(bar.calls) - before <= 1 + bar.is_over
            assert len(bar.calls) == before or client.stats().acked > acked

    def test_reports_that_wait_for_their_call_become_one(self) -> None:
        pair, bar = ConnectionPair(LinkConditions(latency=0.05)), Bar()
        pair.client.send(MESSAGE, callback=Progress(bar.moved, bar.ended))
        for _ in range(200):
            pair.frame()
            received(pair.server)
        for function, acked in pair.client.take_completed():
            function(acked)
        assert bar.calls == [(LENGTH, LENGTH), (True,)]

    def test_what_fails_has_no_last_report(self, world: World) -> None:
        client, bar = world.connect(), Bar()
        world.set_conditions(client, DEAD)
        client.send(MESSAGE, RetryMode.NONE, bar.ended, on_progress=bar.moved)
        client.channel("ordered").send(MESSAGE, bar.ended, on_progress=bar.moved)
        world.run(0.5)
        client.forceDisconnect()
        assert bar.calls == [(False,), (False,)]

    def test_what_a_newer_one_replaces_has_no_report(self, world: World) -> None:
        client, bar = world.connect(), Bar()
        channel = client.channel("latest")
        channel.send(MESSAGE, bar.ended, on_progress=bar.moved)
        channel.send(b"newer")
        world.run(2)
        assert bar.calls == [(False,)]

    def test_one_to_a_client_that_is_gone_is_refused_as_ever(self, world: World) -> None:
        client, bar = world.connect(), Bar()
        server_client = world.server_client(client)
        client.waitForDisconnect()
        world.run(1)
        server_client.send(MESSAGE, callback=bar.ended, on_progress=bar.moved)
        world.run(1)
        assert bar.calls == [(False,)]

    def test_a_message_of_another_thread_is_told_of_on_the_handlers(self, world: World) -> None:
        server_client = world.server_client(world.connect())
        threads: list[int] = []

        def send() -> None:
            server_client.send_guaranteed(
                MESSAGE, on_progress=lambda *_: threads.append(threading.get_ident())
            )

        sender = threading.Thread(target=send)
        sender.start()
        sender.join()
        world.run(5)
        assert len(threads) > 5
        assert set(threads) == {threading.get_ident()}

    def test_what_it_raises_is_logged_and_harms_nothing(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        client, bar = world.connect(), Bar()

        def broken(done: int, total: int) -> None:
            raise ZeroDivisionError(f"{done} of {total}")

        with caplog.at_level(logging.ERROR):
            client.send(b"", callback=bar.ended, on_progress=broken)
            world.server_client(client).send(b"", -1, bar.ended, on_progress=broken)
            world.run(1)
        assert bar.calls == [(True,), (True,)]
        assert {record.name for record in caplog.records} == {
            "mpgameserver.client",
            "mpgameserver.server",
        }

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"on_progress": 1}, "on_progress must be callable or None, not int"),
            ({"on_progress": print, "callback": 1}, "callback must be callable or None, not int"),
        ],
    )
    def test_what_cannot_be_called_is_refused(
        self, world: World, arguments: dict[str, Any], text: str
    ) -> None:
        client = world.connect()
        server_client = world.server_client(client)
        sends: list[Callable[..., None]] = [
            client.send,
            client.channel("ordered").send,
            server_client.send,
            server_client.channel("ordered").send,
        ]
        for send in sends:
            with pytest.raises(TypeError, match=text):
                send(b"x", **arguments)
        assert client.pending == server_client.pending == 0

    def test_nothing_is_kept_of_it(self, world: World) -> None:
        client = world.connect()
        client.send(MESSAGE, on_progress=Bar().moved)
        world.run(5)
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Bar)]


class TestArriving:
    """`arriving` is what has come of messages that are not complete."""

    @pytest.mark.parametrize("kind", ["", "ordered", "latest", "unordered"])
    def test_a_client_sees_a_message_grow(self, world: World, kind: str) -> None:
        client = world.connect()
        server_client = world.server_client(client)
        sender: Any = server_client.channel(kind) if kind else server_client
        receiver: Any = client.channel(kind) if kind else client
        sender.send(MESSAGE)
        seen = self._watch(world, receiver)
        assert all(total == LENGTH for _, total in seen)
        assert all(0 < done < LENGTH for done, _ in seen)
        assert seen == sorted(seen)
        assert len(set(seen)) > 5
        assert self._others(client, kind) == []

    @staticmethod
    def _watch(world: World, receiver: Any) -> list[tuple[int, int]]:
        """Return what is seen of one message until it is complete."""
        seen: list[tuple[int, int]] = []
        world.run_until(lambda: receiver.arriving)
        while receiver.arriving:
            seen += receiver.arriving
            world.frame()
        return seen

    @staticmethod
    def _others(client: UdpClient, kind: str) -> list[tuple[int, int]]:
        return [each for name in KINDS if name != kind for each in client.channel(name).arriving]

    @pytest.mark.parametrize("kind", ["", "ordered", "sequenced"])
    def test_a_server_sees_it_too(self, world: World, game: Game, kind: str) -> None:
        client = world.connect(LinkConditions(latency=0.05))
        game.channel = kind
        place: Any = client.channel(kind) if kind else client
        place.send(MESSAGE)
        world.run_until(lambda: game.heard)
        assert game.heard == [(kind, MESSAGE)]
        assert {total for _, total in game.seen} == {LENGTH}
        assert len(set(game.seen)) > 5

    def test_several_are_in_the_order_in_which_they_were_sent(self, world: World) -> None:
        client = world.connect()
        channel = client.channel("unordered")
        server_client = world.server_client(client)
        for size in (3_000_000, 200_000, 20_000):  # in lanes of their own: all are in progress
            server_client.channel("unordered").send(bytes(size), retry=RetryMode.RETRY_ON_TIMEOUT)
        snapshots = [self._totals(world, channel) for _ in range(30)]
        order = max(snapshots, key=len)
        assert sorted(order) == [20_000, 200_000, 3_000_000]
        assert all(some == [size for size in order if size in some] for some in snapshots)

    @staticmethod
    def _totals(world: World, channel: Any) -> list[int]:
        world.frame()
        return [total for _, total in channel.arriving]

    def test_there_are_none_without_a_session(self, world: World) -> None:
        client = world.client()
        assert client.arriving == client.channel("ordered").arriving == []
        client = world.connect()
        server_client = world.server_client(client)
        server_client.channel("ordered").send(MESSAGE)
        world.run_until(lambda: client.channel("ordered").arriving)
        client.forceDisconnect()
        assert client.channel("ordered").arriving == []
        world.run(6)
        assert server_client.arriving == server_client.channel("ordered").arriving == []


class TestProtocol1:
    """Both for messages without a channel; the bytes in all are an estimate at the receiver."""

    def test_the_sender_hears_of_it_until_all_is_acked(self) -> None:
        pair, bar = ConnectionPair(BAD, seed=3), Bar()
        pair.client.send(MESSAGE, callback=Progress(bar.moved, bar.ended))
        while not bar.is_over:
            pair.frame()
            for function, acked in pair.client.take_completed():
                function(acked)
        check_rising(bar.calls, LENGTH)
        assert len(bar.calls) > 10
        assert received(pair.server) == [MESSAGE]

    def test_the_receiver_estimates_how_long_it_is(self) -> None:
        pair = ConnectionPair(BAD, seed=3)
        pair.client.send(MESSAGE)
        seen: list[tuple[int, int]] = []
        while not pair.server.endpoint.inbox_size:
            pair.frame()
            seen += pair.server.channel_arriving(0)
        assert len(set(seen)) > 10
        assert all(0 < done < total for done, total in seen)
        assert all(abs(total - LENGTH) < 1472 for _, total in seen)

    def test_they_are_in_the_order_in_which_they_were_begun(self) -> None:
        pair = ConnectionPair(LinkConditions(loss=0.3), seed=1)
        for size in (30_000, 40_000, 50_000):
            pair.client.send(bytes(size), RetryMode.NONE)
        pair.run(3)
        totals = [total for _, total in pair.server.channel_arriving(0)]
        assert totals == [pytest.approx(size, abs=1500) for size in (30_000, 40_000, 50_000)]

    def test_a_client_of_it_has_no_channels(self) -> None:
        assert ConnectionPair().server.channel_arriving(3) == []
