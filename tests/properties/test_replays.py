"""No recorded datagram is accepted a second time: not in its session, not in any other one.

The attacker here sees all that both sides send, sends any of it again at any time from the right
address, and turns the type in the header of any packet into that of a CHALLENGE_RESP.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.recordingaead import RING, Seals, recorded_sessions
from support.serverworld import DEAD, Player, Recorder, World

from mpgameserver._core.endpoint import DROP_REASONS
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.receive_window import RECEIVE_WIDTH
from mpgameserver.enums import ConnectionStatus, PacketType, RetryMode
from mpgameserver.netsim import LinkConditions
from mpgameserver.stats import ConnectionStats

ADDRESS = ("192.0.2.1", 5000)
LATE = LinkConditions(latency=0.05)
OF_REPLAYS = {"repeated", "too old", "out of window"}
"""Why a replay is dropped before anything is decrypted."""


@pytest.fixture
def seals() -> Iterator[Seals]:
    """Opening a packet a second time is an AssertionError, wherever in these tests."""
    with recorded_sessions() as seals:
        yield seals


def as_challenge_response(datagram: bytes) -> bytes:
    """The datagram under a header that says it is a CHALLENGE_RESP."""
    return datagram[:12] + bytes([PacketType.CHALLENGE_RESP]) + datagram[13:]


def recording(datagrams: list[bytes]) -> list[bytes]:
    """Return the attacker's datagrams: each one recorded, and each as a CHALLENGE_RESP."""
    return datagrams + [as_challenge_response(datagram) for datagram in datagrams]


def play(world: World, player: Player, word: bytes) -> None:
    """Talk both ways, in every mode."""
    [client] = [client for client in world.engine.clients if client.token == player.token]
    for mode in RetryMode:
        player.send(b"up, %s %d" % (word, mode), mode)
        client.send(b"down, %s %d" % (word, mode), mode)
        client.send(bytes(3000), mode)
        world.run(0.1)


def sent_to(world: World, address: tuple[Any, ...]) -> list[bytes]:
    return [datagram for datagram, to in world.sent if to == address]


class TestInItsSession:
    def test_it_costs_no_decryption_at_the_server(self, seals):
        world = World()
        player = world.join(*ADDRESS)
        play(world, player, b"once")
        attempts, events = seals.attempts, len(world.handler.events)
        replayed = recording(player.sent)
        for _ in range(3):
            world.serve([(datagram, ADDRESS) for datagram in replayed])
        assert seals.attempts == attempts
        assert len(world.handler.events) == events
        [client] = world.handler.clients
        drops = {reason: count for reason, count in client.stats.drops.items() if count}
        assert set(drops) <= OF_REPLAYS | {"malformed"}  # a hello is no packet of a session
        assert client.stats.dropped >= 3 * (len(replayed) - 4)
        play(world, player, b"more")
        assert b"up, more 0" in world.handler.messages

    def test_it_costs_no_decryption_at_the_client(self, seals):
        world = World()
        player = world.join(*ADDRESS)
        play(world, player, b"once")
        replayed = recording(sent_to(world, ADDRESS))
        attempts, before = seals.attempts, ConnectionStats.of(player.connection.endpoint, world.now)
        for _ in range(3):
            for datagram in replayed:
                assert player.connection.receive(datagram, world.now) is not None
        after = ConnectionStats.of(player.connection.endpoint, world.now)
        assert seals.attempts == attempts
        assert after.received == before.received
        assert player.connection.endpoint.inbox_size == 0
        assert after.dropped - before.dropped == 3 * len(replayed)
        play(world, player, b"more")
        assert b"down, more 0" in player.messages

    def test_a_proof_is_one_once(self, seals):
        world = World()
        player = world.player(*ADDRESS, conditions=LATE)
        while not world.handler.clients:
            world.frame()
        proofs = [d for d in player.sent if d[12] == PacketType.CHALLENGE_RESP]
        hellos = [d for d in player.sent if d[12] == PacketType.CLIENT_HELLO]
        attempts = seals.attempts
        for _ in range(3):
            world.serve([(datagram, ADDRESS) for datagram in [*hellos, *proofs]])
        assert seals.attempts == attempts
        assert (len(world.handler.clients), world.engine.half_open) == (1, 0)


@pytest.mark.parametrize(("is_server", "per_second"), [(False, 60), (True, 1000), (False, 32_767)])
def test_through_three_laps_of_the_counter(is_server, per_second, seed):
    """At every quarter of a lap all that was recorded is sent again; some of it was withheld."""
    rng, seals, now = random.Random(seed), Seals(), 0.0
    sender, receiver = (
        Endpoint1(seals.aead(bytes(16)), side, now, 1_700_000_000.0)
        for side in (not is_server, is_server)
    )
    sender.established = receiver.established = True
    sender.keep_alive_interval = 1e-9
    recorded: list[tuple[int, bool, bytes]] = []
    for number in range(3 * RING + 20):
        now = max(now + 1e-8, number // per_second + number % per_second * 1e-8)
        datagram = sender.next_datagram(now)
        is_delivered = rng.random() < 0.95
        if is_delivered:
            assert receiver.receive(datagram, now) == 0
        if rng.random() < 0.01:
            recorded.append((number, is_delivered, datagram))
        if (number + 10) % (RING // 4) in (0, 9, 10, 11):
            attempts, honest = seals.attempts, 0
            for place, (sent, was_delivered, old) in enumerate(recorded):
                verdict = receiver.receive(old, now)
                is_late = not was_delivered and number - sent <= RECEIVE_WIDTH
                assert (verdict == 0) == is_late, f"{number - sent} late: {verdict}"
                assert verdict == 0 or DROP_REASONS[verdict - 1] in OF_REPLAYS
                recorded[place] = (sent, was_delivered or is_late, old)
                honest += is_late
            assert seals.attempts == attempts + honest


def disconnect(world: World, player: Player) -> World:
    player.connection.disconnect(world.now)
    world.run(0.3)
    return world


def idle(world: World, player: Player) -> World:
    player.relink(DEAD)
    world.run(6.0)
    return world


def kick(world: World, player: Player) -> World:
    world.engine.clients[0].disconnect()
    world.run(0.3)
    return world


def vanishing(world: World, player: Player) -> World:
    """The client is gone and the server does not know: the next one takes its place."""
    return world


def restart(world: World, player: Player) -> World:
    """Another server with the same root key."""
    return World()


@pytest.mark.parametrize("end", [disconnect, idle, kick, vanishing, restart])
class TestInAnotherSession:
    """`end` is how the recorded session ended, before the next one from the same address."""

    @pytest.fixture
    def recorded(self, seals, end: Callable[[World, Player], World]):
        """The world, and what both sides sent in the session that is over."""
        world = World()
        player = world.join(*ADDRESS)
        play(world, player, b"before")
        up, down = recording(player.sent), recording(sent_to(world, ADDRESS))
        world = end(world, player)
        world.players.clear()
        return world, up, down

    def test_before_the_next_one_it_opens_nothing(self, recorded, seals):
        world, up, _ = recorded
        for _ in range(3):
            events, opened = len(world.handler.events), seals.opened
            world.serve([(datagram, ADDRESS) for datagram in up])
            world.run(0.3)
            assert len(world.handler.events) == events
            assert seals.opened == opened

    def test_while_the_next_one_shakes_hands_it_gets_in_and_nothing_else_does(
        self, recorded, seals, seed
    ):
        rng, (world, up, down) = random.Random(seed), recorded
        messages, connected = world.handler.messages, len(world.handler.clients)
        player = world.player(*ADDRESS, conditions=LATE)
        for _ in range(240):
            world.serve([(datagram, ADDRESS) for datagram in rng.sample(up, 10)])
            for datagram in rng.sample(down, 10):
                player.links.down.send(datagram, world.now)
            world.frame()
        assert player.connection is not None
        assert len(world.handler.clients) == connected + 1
        assert world.handler.messages == messages
        assert player.messages == []
        play(world, player, b"after")
        world.run(0.2)
        assert sorted(set(world.handler.messages) - set(messages)) == sorted(
            b"up, after %d" % mode for mode in RetryMode
        )

    def test_in_the_next_one_it_does_not_open(self, recorded, seals):
        world, up, down = recorded
        player = world.join(*ADDRESS)
        world.run(0.2)
        events, opened = len(world.handler.events), seals.opened
        world.engine.clients[0].send(b"still here", -1)
        for datagram in up:
            world.serve([(datagram, ADDRESS)])
        for datagram in down:
            assert player.connection.receive(datagram, world.now) is not None
        assert seals.opened == opened
        assert len(world.handler.events) == events
        world.run(0.5)
        assert player.messages == [b"still here"]
        assert player.connection.status == ConnectionStatus.CONNECTED
        assert world.engine.clients[0].status == ConnectionStatus.CONNECTED


def test_of_one_client_it_opens_nothing_at_another(seals):
    """Both are connected; what one sends is sent again from the other's address."""
    world = World(Recorder())
    one, other = world.join("192.0.2.1", 5000), world.join("192.0.2.2", 5000)
    play(world, one, b"one")
    opened, events = seals.opened, len(world.handler.events)
    world.serve([(datagram, other.address) for datagram in recording(one.sent)])
    for datagram in recording(sent_to(world, one.address)):
        assert other.connection.receive(datagram, world.now) is not None
    assert seals.opened == opened
    assert len(world.handler.events) == events
    world.run(0.2)
    assert len(world.engine.clients) == 2
