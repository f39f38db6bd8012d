"""A server that is measured: where its time goes, and what its sessions have done."""

from __future__ import annotations

import asyncio
import gc

import pytest
from support.serverworld import DEAD, Recorder, World

from mpgameserver._core.pump import ServerPump
from mpgameserver.errors import ProtocolError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server import ThreadedServer
from mpgameserver.server.context import ServerContext
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.meter import MAX_CONNECTIONS_LISTED, Phase, ServerMeter
from mpgameserver.server.snapshot import FiguresAsker
from mpgameserver.server.stats import ServerFigures, ServerStats

LOOPBACK = ("127.0.0.1", 0)


class Clock:
    """Seconds that pass when somebody says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


class MeasuredWorld(World):
    """A `World` whose server is measured."""

    def __init__(
        self, handler: EventHandler | None = None, conditions: LinkConditions | None = None
    ) -> None:
        super().__init__(handler, conditions or LinkConditions())
        self.clock = Clock()
        self.context.meter = self.meter = ServerMeter(self.clock)
        self.engine = ServerEngine(self.context)
        self.engine.start(self.now)

    @property
    def figures(self) -> ServerFigures:
        return self.meter.figures()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> ServerMeter:
    made = ServerMeter(clock)
    made.attach(World().engine)
    return made


class TestTime:
    def test_each_phase_has_its_own_but_for_what_is_within(
        self, clock: Clock, meter: ServerMeter
    ) -> None:
        clock.work(100)
        handle = meter.timed(Phase.HANDLER, lambda: clock.work(20))

        def receive() -> None:
            clock.work(1)
            handle()
            clock.work(2)

        meter.timed(Phase.RECEIVE, receive)()
        meter.timed(Phase.SEND, clock.work)(5)
        assert meter._seconds == [100, 3, 20, 5]

    def test_what_raises_is_counted_and_ends(self, clock: Clock, meter: ServerMeter) -> None:
        def fail() -> None:
            clock.work(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            meter.timed(Phase.HANDLER, fail)()
        clock.work(7)
        meter.switch(Phase.IDLE)
        assert meter._seconds == [7, 0, 1, 0]

    def test_the_handlers_events_are_the_handlers_time(self) -> None:
        events = dict.fromkeys(("connect", "disconnect", "handle_message", "update"))
        handler = Recorder(**{name: lambda *_: world.clock.work(1) for name in events})
        world = MeasuredWorld(handler)
        player = world.join()
        player.send(b"message")
        world.run(0.2)
        player.connection.disconnect(world.now)
        world.run(0.2)
        figures = world.figures
        assert figures.handler_seconds == 3 + len(handler.updates)
        assert figures.ticks == len(handler.updates) > 0
        assert (figures.receive_seconds, figures.send_seconds) == (0, 0)
        assert figures.uptime == figures.handler_seconds

    def test_the_steps_of_a_coroutine_are_counted_and_its_waits_are_not(
        self, clock: Clock, meter: ServerMeter
    ) -> None:
        async def event() -> str:
            clock.work(1)
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                clock.work(10)
                await asyncio.sleep(0)
            clock.work(100)
            return "done"

        timed = meter.timed_steps(Phase.HANDLER, event())
        timed.send(None)
        clock.work(1000)
        timed.throw(asyncio.CancelledError())
        clock.work(1000)
        with pytest.raises(StopIteration, match="done"):
            timed.send(None)
        assert meter._seconds == [2000, 0, 111, 0]

    def test_the_steps_of_a_coroutine_can_be_awaited(
        self, clock: Clock, meter: ServerMeter
    ) -> None:
        async def event() -> str:
            await asyncio.sleep(0)
            clock.work(1)
            return "done"

        async def main() -> str:
            return await meter.timed_steps(Phase.HANDLER, event())

        assert asyncio.run(main()) == "done"
        meter.switch(Phase.IDLE)
        assert meter._seconds == [0, 0, 1, 0]

    def test_a_coroutine_that_is_cancelled_before_its_first_step_leaves_no_warning(
        self, meter: ServerMeter
    ) -> None:
        async def event() -> None:
            raise AssertionError("it has begun")

        async def main() -> None:
            task = asyncio.ensure_future(meter.timed_steps(Phase.HANDLER, event()))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        asyncio.run(main())
        gc.collect()

    def test_the_system_calls_are_counted_too(self) -> None:
        world = MeasuredWorld()
        clock = world.clock

        class Working:
            def receive_from(self) -> None:
                clock.work(1)

            def queue(self, datagram: bytes, address: object) -> bool:
                clock.work(10)
                return True

            def flush(self) -> bool:
                clock.work(100)
                return True

        pump = ServerPump(world.engine.dispatcher, Working(), lambda: world.now)
        world.engine.dispatcher.answers.push((b"", LOOPBACK))
        pump.receive(1, world.now, world.wall_now)
        pump.send()
        assert world.meter._seconds == [0, 1, 0, 110]


class TestFigures:
    def test_datagrams_are_counted_both_ways_and_those_dropped_too(self) -> None:
        world = MeasuredWorld()
        player = world.join()
        world.run(0.5)
        world.serve([(b"stray", ("192.0.2.9", 9))])
        figures = world.figures
        assert figures.datagrams_received == len(player.sent) + 1
        assert figures.bytes_received == sum(map(len, player.sent)) + 5
        assert figures.datagrams_sent == len(world.sent)
        assert figures.bytes_sent == sum(len(datagram) for datagram, _ in world.sent)
        assert figures.stats == world.engine.stats
        assert figures.stats.drops == {"no session": 1}

    def test_each_session_is_told(self) -> None:
        world = MeasuredWorld(conditions=LinkConditions(latency=0.05))
        player = world.join()
        world.client_of(player).send(b"message", -1)
        world.run(1.0)
        world.client_of(player).send(bytes(100_000), -1)
        [session] = world.figures.connections
        stats = world.client_of(player).stats
        assert session.address == "{}:{}".format(*player.address)
        assert session.connected_for == pytest.approx(1.0, abs=0.1)
        assert session.latency == world.client_of(player).latency == pytest.approx(0.12, abs=0.03)
        assert (session.sent, session.received) == (stats.sent, stats.received)
        assert session.send_queue_bytes == world.figures.send_queue_bytes == 100_000
        assert world.figures.latency_median == world.figures.latency_p99 == session.latency

    def test_what_a_session_did_stays_when_it_is_over(self) -> None:
        world = MeasuredWorld(conditions=LinkConditions(loss=0.2))
        for _ in range(3):
            player = world.join()
            world.client_of(player).send(bytes(50_000), -1)
            world.run(2.0)
            before = world.figures
            player.connection.disconnect(world.now)
            world.run(1.5)
            after = world.figures
            assert after.connections == ()
            for name in ("packets_sent", "packets_acked", "packets_timed_out", "retransmitted"):
                assert getattr(after, name) >= getattr(before, name) > 0
            world.players.clear()

    def test_messages_that_come_again_are_counted(self) -> None:
        world = MeasuredWorld(conditions=LinkConditions(loss=0.3))
        player = world.join()
        for number in range(100):
            player.send(b"%d" % number)
            world.run(0.02)
        world.run(2.0)
        assert len(world.handler.messages) == 100
        repeated = world.client_of(player).stats.repeated_messages
        assert world.figures.messages_repeated == repeated > 0
        assert world.figures.messages_discarded == 0

    def test_one_that_is_replaced_is_counted_once(self) -> None:
        world = MeasuredWorld()
        first = world.join()
        world.run(1.0)
        sent = world.figures.packets_sent
        world.players.clear()
        world.join(*first.address)
        figures = world.figures
        assert world.handler.reasons == ["replaced"]
        [now] = figures.connections
        assert sent <= figures.packets_sent - now.sent <= sent + 2

    def test_of_a_crowd_those_with_the_longest_round_trips_are_listed(self) -> None:
        world = MeasuredWorld()
        for _ in range(MAX_CONNECTIONS_LISTED + 3):
            world.player()
        slow = world.player(conditions=LinkConditions(latency=0.1))
        world.run(1.0)
        world.context.broadcast(b"message", -1)
        world.turn()
        world.run(0.5)
        figures = world.figures
        assert figures.stats.clients == MAX_CONNECTIONS_LISTED + 4
        assert len(figures.connections) == MAX_CONNECTIONS_LISTED
        assert figures.connections[0].address == "{}:{}".format(*slow.address)
        assert figures.latency_p99 == figures.connections[0].latency
        assert figures.latency_median < 0.05 < figures.latency_p99

    def test_packets_without_an_ack_time_out(self) -> None:
        world = MeasuredWorld()
        player = world.join()
        player.relink(DEAD)
        world.client_of(player).send(b"lost")
        world.run(2.0)
        assert world.figures.packets_timed_out > 0
        assert world.figures.connections[0].timeouts > 0

    def test_a_meter_without_a_server_tells_zeros(self) -> None:
        assert ServerMeter().figures() == ServerFigures()

    def test_a_new_server_begins_from_zero(self) -> None:
        world = MeasuredWorld()
        world.join()
        world.engine = ServerEngine(world.context)
        assert world.figures.datagrams_received == 0


class TestAsBytes:
    def test_figures_are_read_as_they_were_written(self) -> None:
        world = MeasuredWorld()
        world.join()
        world.serve([(b"stray", ("192.0.2.9", 9))])
        assert ServerFigures.from_bytes(world.figures.to_bytes()) == world.figures

    @pytest.mark.parametrize(
        "data",
        [b"", b"\xff", b"[]", b"7", b"{}", b'{"stats":{},"connections":[],"x":1}', b"[" * 99999],
        ids=lambda data: f"{data[:12]!r}",
    )
    def test_what_is_none_is_a_protocol_error(self, data: bytes) -> None:
        with pytest.raises(ProtocolError, match="statistics"):
            ServerFigures.from_bytes(data)


class TestAsking:
    def test_the_server_answers_from_its_own_thread(self) -> None:
        context = ServerContext(EventHandler())
        asker = FiguresAsker(context)
        with ThreadedServer(context, LOOPBACK):
            figures = asker.wait(10.0)
            assert figures is not None
            assert figures.stats == ServerStats()
            assert asker.take() is None
        assert asker.wait(0.0) is None

    def test_while_no_server_runs_one_question_waits(self) -> None:
        context = ServerContext(EventHandler())
        asker = FiguresAsker(context)
        for _ in range(10):
            asker.ask()
        assert len(context.take_calls()) == 1
