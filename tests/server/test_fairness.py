"""One client that sends more than the handler can bear: the others and the tick do not wait."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import replace
from typing import Any

import pytest
from support.keyholder import KeyHolder
from support.serverworld import Recorder, World

from mpgameserver._core.call_budget import BATCH_TIMEOUT, MAX_CALLS_PER_BATCH, MAX_CALLS_PER_TURN
from mpgameserver._core.pump import ServerPump
from mpgameserver.enums import DisconnectReason, PacketType
from mpgameserver.server import ServerClient
from mpgameserver.server.limits import Limits
from mpgameserver.server.loop import MAX_READS

INTERVAL = 1 / 60
MAX_MESSAGES_PER_RECEIVE = 16_384
COST = 5e-6
FLOOD = 2800
"""Datagrams per second, each with 255 messages: 714,000 calls of 5 µs, more than a core has."""


class Costly(Recorder):
    """A handler of which each call takes time."""

    def __init__(self, cost: float = COST) -> None:
        super().__init__()
        self.cost = cost
        self.world: World
        self.handled: list[tuple[float, ServerClient, bytes]] = []

    def handle_message(self, client: ServerClient, seqnum: int, msg: bytes = b"") -> None:
        self.handled.append((self.world.now, client, msg))
        self.world.now += self.cost


class BusyServer:
    """The loop of a server over a socket in memory, on a clock that the handler moves."""

    def __init__(self, handler: Costly, limits: Limits | None = None) -> None:
        self.world = handler.world = World(handler, limits=limits)
        self.handler = handler
        self.ticks: list[float] = []
        handler.on["update"] = lambda _: self.ticks.append(self.world.now)
        self.world.engine.dispatcher.calls.clock = lambda: self.world.now
        self._pump = ServerPump(self.world.engine.dispatcher, self, lambda: self.world.now)
        self._arrivals: list[tuple[float, int, bytes, Any]] = []
        self._numbers = itertools.count()

    def arrive(self, when: float, datagram: bytes, address: Any) -> None:
        heapq.heappush(self._arrivals, (when, next(self._numbers), datagram, address))

    def receive_from(self) -> tuple[bytes, Any] | None:
        if not self._arrivals or self._arrivals[0][0] > self.world.now:
            return None
        return heapq.heappop(self._arrivals)[2:]

    def queue(self, datagram: bytes, address: Any) -> bool:
        return True

    def flush(self) -> bool:
        return True

    def run(self, seconds: float) -> None:
        world, until = self.world, self.world.now + seconds
        while world.now < until:
            self._pump.receive(MAX_READS, world.now, world.wall_now)
            world.engine.advance(world.now)
            self._pump.send()
            if world.engine.step_handshakes(world.now):
                self._pump.send()
            due = min(world.engine.next_timer(), self._arrivals[0][0] if self._arrivals else until)
            world.now = max(world.now, min(due, until))

    def flood(self, peer: KeyHolder, seconds: float) -> int:
        """Have a peer send as much as it can for so long; how many messages that are."""
        start, count = self.world.now, int(FLOOD * seconds)
        for i in range(count):
            when = start + i / FLOOD
            self.arrive(when, peer.packet(*[b"!"] * 255, at=when), peer.address)
        return count * 255

    def play(self, peer: KeyHolder, seconds: float) -> list[float]:
        """Have a peer send a message per frame, each saying when; those times."""
        start = self.world.now
        times = [start + (i + 0.5) / 60 for i in range(int(60 * seconds))]
        for when in times:
            self.arrive(when, peer.packet(repr(when).encode(), at=when), peer.address)
        return times

    def delays(self, peer: KeyHolder) -> list[float]:
        """The seconds that each message of an honest peer waited for the handler, sorted."""
        return sorted(
            at - float(message)
            for at, client, message in self.handler.handled
            if client.addr == peer.address
        )


class TestOneReadingOfTheClock:
    def test_the_time_of_an_event_counts_for_the_go_in_which_it_comes(self) -> None:
        server = BusyServer(Costly())
        first, second = KeyHolder(server.world), KeyHolder(server.world)
        server.run(0.1)

        def take_long() -> None:
            server.world.now += BATCH_TIMEOUT

        engine = server.world.engine
        before = len(server.handler.handled)
        engine.dispatcher.receive(
            first.packet(b"a"), first.address, server.world.now, server.world.wall_now
        )
        engine.call_event("connect", take_long)
        engine.dispatcher.receive(second.packet(b"b"), second.address, server.world.now, 0.0)
        assert [message for _, _, message in server.handler.handled[before:]] == [b"a"]
        engine.advance(server.world.now)
        assert [message for _, _, message in server.handler.handled[before:]] == [b"a", b"b"]

    def test_a_go_of_messages_costs_one_reading_and_an_event_two(self) -> None:
        server = BusyServer(Costly())
        peer, engine, reads = KeyHolder(server.world), server.world.engine, 0
        server.run(0.1)

        def clock() -> float:
            nonlocal reads
            reads += 1
            return server.world.now

        engine.dispatcher.calls.clock = clock
        engine.dispatcher.receive(
            peer.packet(b"a"), peer.address, server.world.now, server.world.wall_now
        )
        assert reads == 1
        engine.call_event("update", lambda: None)
        assert reads == 3


class TestOneClientThatFloods:
    def test_an_honest_player_is_handled_within_one_go(self) -> None:
        server = BusyServer(Costly())
        honest, hostile = KeyHolder(server.world), KeyHolder(server.world)
        server.flood(hostile, 0.4)
        sent = server.play(honest, 0.4)
        server.run(0.4)
        delays = server.delays(honest)
        assert len(delays) == len(sent)
        assert delays[-1] <= BATCH_TIMEOUT + 70 * COST

    def test_no_tick_is_missed_and_none_is_later_than_a_go(self) -> None:
        server = BusyServer(Costly())
        server.flood(KeyHolder(server.world), 0.4)
        server.ticks.clear()
        first = server.world.engine._next_tick
        server.run(0.4)
        assert len(server.ticks) == 24
        late = [at - (first + i * INTERVAL) for i, at in enumerate(server.ticks)]
        assert max(late) <= 2 * BATCH_TIMEOUT

    def test_ticks_come_on_time_with_full_inboxes_and_slow_messages(self) -> None:
        server = BusyServer(Costly(cost=0.001))
        for port in range(1, 9):
            server.flood(KeyHolder(server.world, "192.0.2.7", port), 0.02)
        server.run(0.1)
        assert server.world.engine.dispatcher.waiting == 8
        server.ticks.clear()
        server.run(0.5)
        gaps = [later - at for at, later in itertools.pairwise(server.ticks)]
        assert max(gaps) <= INTERVAL + BATCH_TIMEOUT + 0.002

    def test_nothing_is_lost_and_the_order_of_a_session_is_kept(self) -> None:
        server = BusyServer(Costly())
        peers = [KeyHolder(server.world) for _ in range(3)]
        for i in range(40):
            for peer in peers:
                messages = [b"%d" % (255 * i + j) for j in range(255)]
                server.arrive(server.world.now, peer.packet(*messages), peer.address)
        server.run(1.0)
        for peer in peers:
            handled = [
                int(m) for _, client, m in server.handler.handled if client.addr == peer.address
            ]
            assert handled == list(range(40 * 255))
        assert server.world.engine.dispatcher.waiting == 0

    def test_sessions_take_turns(self) -> None:
        server = BusyServer(Costly())
        peers = [KeyHolder(server.world) for _ in range(3)]
        for peer in peers:
            for _ in range(10):
                server.arrive(server.world.now, peer.packet(*[b"x"] * 255), peer.address)
        server.run(0.02)
        clients = [client for _, client, _ in server.handler.handled]
        counts = [[clients[:end].count(c) for c in set(clients)] for end in range(200, 2000, 64)]
        assert all(max(each) - min(each) <= 2 * MAX_CALLS_PER_TURN for each in counts)

    def test_without_a_clock_a_go_ends_by_its_number_of_calls(self) -> None:
        world = World()
        peers = [KeyHolder(world) for _ in range(100)]
        datagrams = [(peer.packet(*[b"x"] * 255), peer.address) for peer in peers]
        for datagram, address in datagrams:
            world.engine.dispatcher.receive(datagram, address, world.now, world.wall_now)
        world.engine.advance(world.now)
        assert MAX_CALLS_PER_BATCH <= len(world.handler.messages) <= 2 * MAX_CALLS_PER_BATCH
        world.serve()
        assert len(world.handler.messages) == 100 * 255

    def test_reading_ends_when_enough_messages_were_read(self) -> None:
        server = BusyServer(Costly(cost=0.0))
        peer = KeyHolder(server.world)
        for _ in range(80):
            server.arrive(server.world.now, peer.packet(*[b"x"] * 255), peer.address)
        server._pump.receive(MAX_READS, server.world.now, server.world.wall_now)
        assert len(server._arrivals) == 80 - (MAX_MESSAGES_PER_RECEIVE // 255 + 1)


class TestRate:
    def test_what_is_beyond_the_rate_is_dropped_unacked_and_counted(self) -> None:
        world = World(limits=Limits(message_rate=100.0))
        peer = KeyHolder(world)
        session = world.engine.sessions.get(peer.address)
        assert session is not None
        before = session.connection.endpoint.received
        peer.send(*[peer.packet(*[b"x"] * 50) for _ in range(5)])
        assert len(world.handler.messages) == 150
        assert world.engine.stats.drops["over rate"] == 2
        assert session.connection.endpoint.received == before + 3
        world.now += 1.0
        peer.send(peer.packet(b"again"))
        assert world.handler.messages[-1] == b"again"

    def test_a_setting_holds_for_those_who_are_connected(self) -> None:
        world = World()
        peer = KeyHolder(world)
        world.context.limits = replace(world.context.limits, message_rate=10.0)
        world.serve()
        peer.send(*[peer.packet(*[b"x"] * 10) for _ in range(5)])
        assert len(world.handler.messages) == 20

    def test_an_honest_client_beyond_it_gets_all_of_it_through(self) -> None:
        world = World(limits=Limits(message_rate=500.0))
        player = world.join()
        for i in range(1000):
            player.send(b"%d" % i)
        world.run(4)
        assert sorted(map(int, world.handler.messages)) == list(range(1000))

    def test_the_default_is_above_what_a_client_of_this_package_sends(self) -> None:
        assert Limits().message_rate > 700_000


class TestCallbacks:
    def test_those_of_one_ack_are_called_in_turns(self) -> None:
        world, outcomes = World(), []
        player = world.join()
        client = world.client_of(player)
        for _ in range(1000):
            client.send(b"x", -1, outcomes.append)
        session = world.engine.sessions.get(player.address)
        assert session is not None
        session.connection.endpoint.close()
        world.engine.dispatcher.mark_dirty(session)
        world.engine.dispatcher.serve_dirty()
        assert len(outcomes) == MAX_CALLS_PER_TURN
        world.serve()
        assert outcomes == [False] * 1000


class TestTheEnd:
    def test_a_disconnect_does_not_take_away_what_was_acked_before(self) -> None:
        server = BusyServer(Costly(cost=0.001))
        peer = KeyHolder(server.world)
        server.arrive(server.world.now, peer.packet(*[b"x"] * 255), peer.address)
        disconnect = peer.packet(b"", kind=PacketType.DISCONNECT)
        server.arrive(server.world.now, disconnect, peer.address)
        server.run(0.5)
        assert len(server.handler.handled) == 255
        [(client,)] = server.handler.named("disconnect")
        assert client.reason is DisconnectReason.CLIENT

    def test_a_successor_at_its_address_connects_when_it_has_left(self) -> None:
        world = World()
        peer = KeyHolder(world, "192.0.2.1", 5000)
        datagrams = [peer.packet(*[b"x"] * 255) for _ in range(20)]
        for datagram in datagrams:
            world.engine.dispatcher.receive(datagram, peer.address, world.now, world.wall_now)
        new = world.join("192.0.2.1", 5000)
        names = [event[0] for event in world.handler.events]
        assert names.count("handle_message") == 20 * 255
        assert names[-2:] == ["disconnect", "connect"]
        assert world.handler.reasons == ["replaced"]
        assert world.client_of(new).addr == new.address

    @pytest.mark.parametrize("at_once", [False, True])
    def test_a_server_that_stops_handles_no_more_messages(self, at_once: bool) -> None:
        server = BusyServer(Costly(cost=0.001))
        peer = KeyHolder(server.world)
        for _ in range(100):
            server.arrive(server.world.now, peer.packet(*[b"x"] * 255), peer.address)
        server.run(0.05)
        handled = len(server.handler.handled)
        if at_once:
            server.world.engine.abort()
        else:
            server.world.context.shutdown()
            server.run(1.1)
        assert len(server.handler.handled) <= handled + MAX_CALLS_PER_TURN
        assert [event[0] for event in server.handler.events[-2:]] == ["disconnect", "shutdown"]
