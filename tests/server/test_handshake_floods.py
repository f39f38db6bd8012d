"""Hellos and answers that are forged in a player's name, in virtual time: the player gets in.

The attacker is off the path. He knows the player's address and port, and has recorded, or caused,
answers of the server to other hellos.
"""

from __future__ import annotations

import math
import os
import random
from functools import cache

import pytest
from support.serverworld import FRAME, ROOT_KEY, Player, World

from mpgameserver.crypto import EllipticCurvePrivateKey
from mpgameserver.enums import PacketType
from mpgameserver.netsim import LinkConditions
from mpgameserver.server.handshakes import TRIALS_AT_ONCE, TRIALS_PER_SECOND
from mpgameserver.testing import WALL_START
from mpgameserver.wire.handshake import (
    ClientHello,
    ServerHello,
    encode_clear_packet,
    new_token,
)
from mpgameserver.wire.session_cipher import SessionCipher, may_open

ADDRESS = ("192.0.2.1", 5000)
HELLOS_PER_SECOND = 100
ANSWERS_PER_SECOND = 120
PATIENCE = 2.0
"""Seconds within which the player has to be in."""
WARM_UP = 1.3
"""Seconds of the flood before the player comes: what fills the table of his address."""
SEEDS = range(8)
"""Of each case: where a flood shuts the player out half of the time, one of eight runs shows it."""


@cache
def forged_hellos() -> list[bytes]:
    """Hellos of other keys: some more than one run takes."""
    count = math.ceil((WARM_UP + PATIENCE) * HELLOS_PER_SECOND)
    keys = (EllipticCurvePrivateKey.new().getPublicKey().getBytes() for _ in range(count))
    messages = [ClientHello(key).encode(1412) for key in keys]
    return [
        encode_clear_packet(PacketType.CLIENT_HELLO, 1, 1, m, int(WALL_START)) for m in messages
    ]


@cache
def recorded_answers() -> list[bytes]:
    """Answers of the server to hellos of others, which verify."""
    count = math.ceil(PATIENCE * ANSWERS_PER_SECOND)
    keys = (EllipticCurvePrivateKey.new().getPublicKey() for _ in range(count))
    hellos = [ServerHello.create(ROOT_KEY, key, os.urandom(16), new_token()) for key in keys]
    return [
        encode_clear_packet(PacketType.SERVER_HELLO, 1, 1, hello.encode(), int(WALL_START))
        for hello in hellos
    ]


class Attacker:
    """Sends at a rate; `repeats` more of what was sent before beside each datagram."""

    def __init__(self, datagrams: list[bytes], rate: float, repeats: int, seed: int) -> None:
        self._datagrams, self._rate, self._repeats = datagrams, rate, repeats
        self._rng = random.Random(seed)
        self._start: float | None = None
        self._sent = 0

    def frame(self, now: float) -> list[bytes]:
        """The datagrams sent in the frame that ends now."""
        if self._start is None:
            self._start = now - self._rng.random() / self._rate
        leaving = []
        while self._sent < (now - self._start) * self._rate:
            leaving.append(self._datagrams[self._sent % len(self._datagrams)])
            self._sent += 1
            recent = self._datagrams[max(0, self._sent - 20) : self._sent]
            leaving += self._rng.choices(recent, k=self._repeats)
        return leaving


def world_of(seed: int) -> World:
    world = World(seed=seed)
    world.engine.admission.handshakes.half_open._rng = random.Random(seed)
    return world


class Crowd:
    """A few hosts that send hellos, each once more after a quarter of a second."""

    PER_FRAME = 80
    FRAMES = 15

    def __init__(self, hosts: list[str]) -> None:
        self._hosts, self._frame = hosts, 0

    def flood(self, world: World) -> None:
        """Send what leaves in a frame: it arrives before what others send, and fills the queue."""
        self._send(world, self._frame)
        if self._frame >= self.FRAMES:
            self._send(world, self._frame - self.FRAMES)
        self._frame += 1

    def _send(self, world: World, frame: int) -> None:
        for number in range(frame * self.PER_FRAME, (frame + 1) * self.PER_FRAME):
            address = self._hosts[number % len(self._hosts)], 1 + number
            datagram = forged_hellos()[number % 300]
            world.engine.dispatcher.receive(datagram, address, world.now, world.wall_now)


@pytest.mark.parametrize(
    "hosts",
    [
        [f"198.51.100.{number}" for number in range(8)],
        [f"2001:db8:0:{number:x}00::1" for number in range(250)],
    ],
    ids=["8 hosts", "a 48"],
)
def test_the_player_gets_in_while_a_few_hosts_fill_the_queue_of_hellos(
    hosts: list[str],
) -> None:
    world, crowd = world_of(0), Crowd(hosts)
    for _ in range(math.ceil(WARM_UP / FRAME)):
        crowd.flood(world)
        world.frame()
    limits = world.engine.settings.limits
    assert world.engine.stats.waiting_hellos >= limits.waiting_hellos - 10
    world.player(*ADDRESS, conditions=LinkConditions(latency=0.1))
    start = world.now
    while not world.handler.clients:
        crowd.flood(world)
        world.frame()
        assert world.now < start + PATIENCE, "the player did not get in"


@pytest.mark.parametrize("address", [ADDRESS, ("192.0.2.2", 5000)], ids=["his", "another's"])
def test_keys_tried_on_forged_proofs_have_a_budget_and_the_player_gets_in(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = 0

    def counted(cipher: SessionCipher, datagram: bytes) -> bool:
        nonlocal trials
        trials += 1
        return may_open(cipher, datagram)

    monkeypatch.setattr("mpgameserver.server.half_open.may_open", counted)
    world = world_of(0)
    proof = world.join("192.0.2.9", 5000).sent[1]
    most = world.engine.settings.limits.half_open_per_address
    for _ in range(60):  # until each of the forged handshakes has a key
        world.serve((hello, ADDRESS) for hello in forged_hellos()[:most])
        world.serve([(proof, ADDRESS)])
        world.frame()
    assert all(
        half_open.has_key for half_open in world.engine.admission.handshakes.half_open.at(ADDRESS)
    )
    assert world.engine.half_open == most
    before, start = trials, world.now
    world.player(*address)
    for _ in range(60):
        world.serve([(proof, ADDRESS)] * 50)
        world.frame()
    assert trials - before <= TRIALS_AT_ONCE + TRIALS_PER_SECOND * (world.now - start) + 200
    assert world.engine.drops["busy"] > 1000
    assert address in [client.addr for client in world.engine.clients]


def seconds_to_get_in(
    world: World, player: Player, hellos: Attacker | None, answers: Attacker | None
) -> float:
    start = world.now
    while player.connection is None or not world.handler.clients:
        if answers is not None:
            for datagram in answers.frame(world.now):
                player.links.down.send(datagram, world.now)
        if hellos is not None:
            world.serve([(datagram, ADDRESS) for datagram in hellos.frame(world.now)])
        world.frame()
        assert world.now < start + PATIENCE, "the player did not get in"
    return world.now - start


@pytest.mark.parametrize("repeats", [0, 2], ids=["once", "repeated"])
@pytest.mark.parametrize("round_trip", [0.02, 0.2])
class TestThePlayerGetsIn:
    def test_while_hellos_are_forged_in_his_name(self, round_trip: float, repeats: int) -> None:
        for seed in SEEDS:
            world = world_of(seed)
            hellos = Attacker(forged_hellos(), HELLOS_PER_SECOND, repeats, seed)
            for _ in range(math.ceil(WARM_UP / FRAME)):
                world.serve([(datagram, ADDRESS) for datagram in hellos.frame(world.now)])
                world.now += FRAME
            player = self.player(world, round_trip, seed)
            seconds_to_get_in(world, player, hellos, None)
            assert world.engine.half_open <= world.engine.settings.limits.half_open_per_address

    def test_while_recorded_answers_are_sent_to_him(self, round_trip: float, repeats: int) -> None:
        for seed in SEEDS:
            world = world_of(seed)
            answers = Attacker(recorded_answers(), ANSWERS_PER_SECOND, repeats, seed)
            player = self.player(world, round_trip, seed)
            assert seconds_to_get_in(world, player, None, answers) < 2.5 * round_trip + 0.05

    def test_while_packets_are_lost_too(self, round_trip: float, repeats: int) -> None:
        late = 0
        for seed in SEEDS:
            world = world_of(seed)
            hellos = Attacker(forged_hellos(), HELLOS_PER_SECOND, repeats, seed)
            answers = Attacker(recorded_answers(), ANSWERS_PER_SECOND, repeats, seed)
            player = self.player(world, round_trip, seed, loss=0.05)
            late += seconds_to_get_in(world, player, hellos, answers) > 1.0
        assert late <= len(SEEDS) // 4

    @staticmethod
    def player(world: World, round_trip: float, seed: int, loss: float = 0.0) -> Player:
        conditions = LinkConditions(latency=round_trip / 2, loss=loss)
        player = world.player(*ADDRESS, conditions=conditions)
        player.handshake._candidates._rng = random.Random(seed)
        return player
