"""Limits on what clients make a server hold together, and who is refused beyond them."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace

import pytest
from support import wire
from support.keyholder import KeyHolder
from support.serverworld import Recorder, World

from mpgameserver._core.budget import GUARANTEED
from mpgameserver.enums import ConnectionStatus, DisconnectReason
from mpgameserver.errors import SendQueueFullError
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.limits import Limits
from mpgameserver.server.sessions import Session

MIB = 1 << 20
FRAGMENT_HEADER = struct.Struct(">HHH")
PIECE = 60_000
"""Bytes of a fragment: a receiver takes those of any size."""
SMALL = replace(
    Limits(),
    reassembly_bytes=8 * MIB,
    reassembly_bytes_per_host=2 * MIB,
    send_queues_bytes=8 * MIB,
    send_queues_bytes_per_host=2 * MIB,
    inboxes_bytes=4 * MIB,
    inboxes_bytes_per_host=MIB,
)


def session_of(world: World, address: tuple[object, ...]) -> Session:
    session = world.engine.sessions.get(address)
    assert session is not None
    return session


def hold(peer: KeyHolder, pieces: int, number: int = 1) -> None:
    """Begin a message that is never completed, and have the server hold pieces of it."""
    for index in range(1, pieces + 1):
        head = FRAGMENT_HEADER.pack(number, index, 8000)
        peer.send(peer.packet(head + bytes(PIECE), kind=wire.APP_FRAGMENT))


class TestReassembly:
    def test_one_host_cannot_take_what_others_need(self) -> None:
        world = World(limits=SMALL)
        peers = [KeyHolder(world, "192.0.2.7", port) for port in range(1, 15)]
        honest = world.join()
        for peer in peers:
            hold(peer, 20)
        assert world.engine.budgets.reassembly <= SMALL.reassembly_bytes_per_host
        honest.send(bytes(5000), 0)
        world.run(0.1)
        assert world.handler.messages == [bytes(5000)]

    @pytest.mark.parametrize(
        ("network", "shares"), [("2001:db8:0:{:x}::1", 2), ("2001:db8:0:{:x}00::1", 4)]
    )
    def test_an_ipv6_network_has_as_much_as_a_few_hosts(self, network: str, shares: int) -> None:
        limits = replace(SMALL, reassembly_bytes=32 * MIB, reassembly_bytes_per_host=MIB)
        world = World(limits=limits)
        for host in range(1, 13):
            hold(KeyHolder(world, network.format(host), 5000), 10)
            assert world.engine.budgets.reassembly <= shares * MIB
        before = world.engine.budgets.reassembly
        assert before > (shares - 0.7) * MIB
        hold(KeyHolder(world, "2001:db8:1::1", 5000), 10)
        assert world.engine.budgets.reassembly >= before + 10 * PIECE

    def test_one_network_that_has_all_of_it_pays_and_not_who_has_the_longest_message(self) -> None:
        limits = replace(SMALL, reassembly_bytes=8 * MIB, reassembly_bytes_per_host=2 * MIB)
        world = World(limits=limits)
        longest = KeyHolder(world, "2001:db8:1::1", 5000)
        hold(longest, 20)
        for host in range(1, 16):
            hold(KeyHolder(world, f"2001:db8:0:{host:x}00::1", 5000), 8)
        hold(KeyHolder(world, "2001:db8:2::1", 5000), 4)
        assert longest.address in {client.addr for client in world.engine.clients}
        assert world.engine.stats.ends["evicted"] >= 1

    def test_when_all_is_taken_the_largest_of_the_largest_host_pays(self) -> None:
        world = World(limits=SMALL)
        peers = [KeyHolder(world, f"192.0.2.{host}", 5000) for host in range(1, 5)]
        largest = KeyHolder(world, "198.51.100.1", 1)
        smaller = KeyHolder(world, "198.51.100.1", 2)
        honest = world.join()
        for peer in peers:
            hold(peer, 24)
        hold(largest, 17)
        hold(smaller, 16)
        hold(KeyHolder(world), 10)
        assert world.handler.reasons == []
        assert world.engine.budgets.reassembly > SMALL.reassembly_bytes - 100_000
        honest.send(bytes(50_000), 0)
        world.run(0.2)
        assert world.handler.messages == [bytes(50_000)]
        assert [client.addr for (client,) in world.handler.named("disconnect")] == [largest.address]
        assert world.handler.reasons == ["evicted"]
        assert world.engine.stats.ends["evicted"] == 1
        assert world.engine.drops["reassembly full"] == 0

    def test_who_holds_the_most_is_refused_and_stays(self) -> None:
        world = World(limits=SMALL)
        peer, other = KeyHolder(world, "192.0.2.7", 1), KeyHolder(world, "192.0.2.7", 2)
        hold(other, 2)
        hold(peer, 40)
        assert world.handler.reasons == []
        assert world.engine.drops["reassembly full"] > 0
        assert world.engine.budgets.reassembly <= SMALL.reassembly_bytes_per_host

    def test_a_client_at_its_own_bound_costs_nobody_else_anything(self) -> None:
        world = World()
        other, peer = KeyHolder(world), KeyHolder(world)
        hold(other, 10)
        for number in range(1, 5000):
            head = FRAGMENT_HEADER.pack(number, 1, 2)
            peer.send(peer.packet(head, kind=wire.APP_FRAGMENT))
        assert world.engine.drops["reassembly full"] > 0
        assert world.handler.reasons == []

    def test_what_a_client_held_is_given_back_when_it_is_gone(self) -> None:
        world = World(limits=SMALL)
        peer = KeyHolder(world)
        hold(peer, 10)
        world.client_of(peer).disconnect()
        world.run(1.1)
        assert world.engine.budgets.reassembly == 0
        assert world.engine.budgets._groups == {}


class TestSendQueues:
    def fill(self, world: World, peer: KeyHolder, size: int = MIB) -> int:
        """Queue messages for a peer that acks nothing until one is refused; their bytes."""
        client, queued = world.client_of(peer), 0
        while True:
            try:
                client.send(bytes(size), -1)
            except SendQueueFullError:
                return queued
            queued += size

    def test_the_clients_of_one_host_have_a_limit_together(self) -> None:
        world = World(limits=SMALL)
        peers = [KeyHolder(world, "192.0.2.7", port) for port in range(1, 5)]
        queued = [self.fill(world, peer, 1000) for peer in peers]
        assert queued[0] > MIB
        assert all(GUARANTEED - 3000 < size <= GUARANTEED for size in queued[1:])
        assert world.engine.budgets.send_queues <= 2 * MIB + 3 * GUARANTEED

    def test_an_ipv6_network_has_as_much_as_a_few_hosts(self) -> None:
        world = World(limits=replace(SMALL, send_queues_bytes_per_host=MIB // 2))
        peers = [KeyHolder(world, f"2001:db8:0:{host:x}::1", 5000) for host in range(1, 7)]
        queued = [self.fill(world, peer, 1000) for peer in peers]
        assert queued[0] > MIB // 2 - 100_000
        assert MIB - 100_000 < world.engine.budgets.send_queues <= MIB + 6 * GUARANTEED
        assert all(size <= GUARANTEED for size in queued[3:])

    def test_those_of_all_hosts_too_and_an_honest_client_is_sent_its_messages(self) -> None:
        world = World(limits=SMALL)
        honest = world.join()
        for host in range(1, 8):
            self.fill(world, KeyHolder(world, f"192.0.2.{host}", 5000), 1000)
        assert world.engine.budgets.send_queues <= 8 * MIB + 8 * GUARANTEED
        for i in range(100):
            world.client_of(honest).send(b"%d" % i)
            world.frame()
        world.run(0.1)
        assert len(honest.messages) == 100

    def test_what_is_not_acked_counts_until_it_is(self) -> None:
        world = World()
        player = world.join()
        client = world.client_of(player)
        for size in (10, 1000, 5000):
            for retry in (-1, 0, 1):
                client.send(bytes(size), retry)
                client.send(bytes(size), retry, lambda _: None)
        assert world.engine.budgets.send_queues > 6 * 6010
        world.flush()
        assert world.engine.budgets.send_queues > 0
        world.run(1.5)
        assert world.engine.budgets.send_queues == 0

    @pytest.mark.parametrize("how", ["disconnect", "vanish"])
    def test_the_end_of_a_session_gives_all_of_it_back(self, how: str) -> None:
        world = World()
        peer = KeyHolder(world)
        client = world.client_of(peer)
        for size, retry in itertools.product((10, 1000, 500_000), (-1, 0, 1)):
            client.send(bytes(size), retry)
        world.run(0.1)
        if how == "disconnect":
            client.disconnect()
        world.run(6)
        assert len(world.handler.named("disconnect")) == 1
        assert world.engine.budgets.send_queues == 0


class TestInboxes:
    def test_one_host_has_a_limit_and_an_honest_client_is_heard(self) -> None:
        world = World(limits=SMALL)
        peers = [KeyHolder(world, "192.0.2.7", port) for port in range(1, 4)]
        honest = world.join()
        for peer in peers:
            for _ in range(100):
                datagram = peer.packet(*[bytes(200)] * 200)
                world.engine.dispatcher.receive(datagram, peer.address, world.now, world.wall_now)
        assert world.engine.drops["inbox full"] > 0
        assert world.engine.budgets.inboxes <= MIB + 3 * (GUARANTEED + 70_000)
        world.engine.advance(world.now)
        honest.send(b"heard")
        world.run(0.1)
        assert (world.client_of(honest), b"heard") in world.handler.named("handle_message")

    def test_an_ipv6_network_has_as_much_as_a_few_hosts(self) -> None:
        world = World(limits=replace(SMALL, inboxes_bytes_per_host=MIB // 4))
        peers = [KeyHolder(world, f"2001:db8:0:{host:x}00::1", 5000) for host in range(1, 12)]
        for peer in peers:
            for _ in range(20):
                datagram = peer.packet(*[bytes(200)] * 200)
                world.engine.dispatcher.receive(datagram, peer.address, world.now, world.wall_now)
        assert MIB - 100_000 < world.engine.budgets.inboxes <= MIB + 11 * (GUARANTEED + 70_000)

    def test_all_hosts_together_have_one_too(self) -> None:
        world = World(limits=SMALL)
        for host in range(1, 20):
            peer = KeyHolder(world, f"192.0.2.{host}", 5000)
            for _ in range(30):
                datagram = peer.packet(*[bytes(200)] * 200)
                world.engine.dispatcher.receive(datagram, peer.address, world.now, world.wall_now)
        assert world.engine.budgets.inboxes <= 4 * MIB + 19 * (GUARANTEED + 70_000)

    def test_what_was_handled_is_given_back(self) -> None:
        world = World()
        peer = KeyHolder(world)
        peer.send(peer.packet(*[b"x"] * 255))
        assert len(world.handler.messages) == 255
        assert world.engine.budgets.inboxes == 0


class TestAClientThatAcksNothing:
    def silent_reader(self, size: int) -> tuple[World, KeyHolder]:
        """A client that keeps alive, and acks nothing of what is sent to it."""
        world = World()
        peer = KeyHolder(world)
        world.client_of(peer).send(bytes(size), -1)
        return world, peer

    def keep_alive(self, world: World, peer: KeyHolder, seconds: float) -> float:
        """Let time pass in which the client only keeps alive; until when it was connected."""
        client, until = world.handler.clients[0], world.now + seconds
        while world.now < until and client.status == ConnectionStatus.CONNECTED:
            world.run(0.1)
            peer.send(peer.keep_alive())
        return world.now

    def test_it_is_disconnected_after_ten_seconds_with_a_reason(self) -> None:
        world, peer = self.silent_reader(2 * MIB)
        start = world.now
        assert self.keep_alive(world, peer, 20) - start == pytest.approx(10, abs=0.3)
        world.run(0.1)
        [(client,)] = world.handler.named("disconnect")
        assert client.reason is DisconnectReason.STALLED
        assert client.reason.value == "stalled"
        assert world.engine.stats.ends["stalled"] == 1
        assert world.engine.budgets.send_queues == 0
        assert world.sent[-1][0][12] == wire.DISCONNECT

    def test_it_stays_while_no_more_than_a_mebibyte_waits(self) -> None:
        world, peer = self.silent_reader(MIB // 2)
        self.keep_alive(world, peer, 15)
        assert world.handler.clients[0].status == ConnectionStatus.CONNECTED

    def test_one_that_acks_a_little_stays(self) -> None:
        world, peer = self.silent_reader(4 * MIB)
        for _ in range(5):
            self.keep_alive(world, peer, 5)
            peer.ack = [
                header.seq
                for datagram, address in world.sent
                if address == peer.address
                and (header := wire.unpack_header(datagram)).type == wire.APP_FRAGMENT
            ][-1]
            peer.send(peer.keep_alive())
        assert world.handler.clients[0].status == ConnectionStatus.CONNECTED

    def test_a_slow_honest_client_stays(self) -> None:
        world = World(Recorder())
        player = world.join(conditions=LinkConditions(rate=50_000, latency=0.1))
        world.client_of(player).send(bytes(2 * MIB), -1)
        world.run(15)
        assert world.handler.clients[0].status == ConnectionStatus.CONNECTED


class TestSettings:
    def test_they_hold_for_hosts_that_are_there(self) -> None:
        world = World()
        peer = KeyHolder(world)
        context = world.context
        context.limits = Limits(
            reassembly_bytes=400_000,
            reassembly_bytes_per_host=200_000,
            inboxes_bytes=300_000,
            inboxes_bytes_per_host=100_000,
            send_queues_bytes=500_000,
            send_queues_bytes_per_host=250_000,
        )
        world.serve()
        hold(peer, 10)
        assert world.engine.budgets.reassembly <= 200_000
        with pytest.raises(SendQueueFullError, match="host"):
            world.client_of(peer).send(bytes(260_000))
