"""The receive window of a peer whose wall clock is set, against a list of all that was ever sent.

The published package writes its wall clock into each header. The attacker records everything,
withholds what he likes, and sends any of it again at any time.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass

import pytest
from support import models
from support.packetwindows import arrival, receive

from mpgameserver._core.receive_window import MAX_JUMP, RECEIVE_WIDTH, ReceiveWindow

RING = models.RING
PER_SECOND = 60
START = 1_700_000_000
HOUR = 3600


@dataclass(eq=False)
class Packet:
    number: int
    time: int
    accepted: bool = False

    @property
    def header(self) -> tuple[int, int]:
        return models.to_wire(self.number), self.time % 2**32


class Peer:
    """A sender with a wall clock, its receiver's window, and the oracle, which forgets nothing."""

    def __init__(self, start: int = START, per_second: float = PER_SECOND) -> None:
        self.window = ReceiveWindow()
        self.recorded: list[Packet] = []
        self.number = 0
        self.newest = 0
        self._per_second = per_second
        self._start = start

    def set_clock(self, seconds: int) -> None:
        """Set the sender's clock forward or back."""
        self._start += seconds

    def send(self) -> Packet:
        self.number += 1
        packet = Packet(self.number, int(self.number / self._per_second) + self._start)
        self.recorded.append(packet)
        return packet

    def deliver(self, packet: Packet) -> bool:
        """Deliver a packet, for the first time or again; whether it was accepted.

        The oracle: never twice, and never under the number of another packet.
        """
        accepted = receive(self.window, *packet.header)
        if accepted:
            assert not packet.accepted, f"{packet} was accepted a second time"
            self.newest = max(self.newest, packet.number)
            assert self.window.newest == RING + self.newest, f"{packet} taken for another one"
            packet.accepted = True
        return accepted

    def run(self, count: int, rng: random.Random, loss: float) -> None:
        """Send packets, of which all that are not lost have to be accepted, also a little late."""
        held: list[Packet] = []
        for _ in range(count):
            packet = self.send()
            chance = rng.random()
            if chance < loss:
                continue
            if chance < loss + 0.02:
                held.append(packet)
                continue
            assert self.deliver(packet), f"{packet} was not accepted"
            if held and rng.random() < 0.3 and held[0].time <= packet.time:
                assert self.deliver(held.pop(0))

    def skip(self, count: int, gap: int = 37) -> None:
        """Send packets of which one in `gap` arrives, and the one before that is withheld."""
        for _ in range(count // gap):
            self.number += gap - 2
            self.send()
            packet = self.send()
            assert self.deliver(packet), f"{packet} was not accepted"

    def replay(self, rng: random.Random, count: int) -> None:
        """Send recorded packets again: any of them, and those that come nearest to the newest."""
        for packet in rng.sample(self.recorded, count):
            self._replay(packet)
        for lap in range(1, 1 + self.number // RING):
            near = self.number - lap * RING
            first = bisect_left(self.recorded, near - RECEIVE_WIDTH - 2, key=lambda p: p.number)
            last = bisect_left(self.recorded, near + MAX_JUMP, key=lambda p: p.number)
            for packet in rng.sample(self.recorded[first:last], min(count, last - first)):
                self._replay(packet)

    def _replay(self, packet: Packet) -> None:
        if packet.accepted or self.number - packet.number > RECEIVE_WIDTH:
            assert not self.deliver(packet), f"{packet} was accepted by {self.window.newest}"


@pytest.mark.parametrize("laps", [0.4, 1.6, 3.3, 9.7])
@pytest.mark.parametrize("step", [-1, -2, -30, -HOUR, -30 * HOUR, 2, HOUR])
def test_a_clock_that_is_set_loses_no_packet_of_an_honest_sender(
    laps: float, step: int, seed: int
) -> None:
    rng, peer = random.Random(seed), Peer()
    peer.skip(int(laps * RING))
    peer.run(1000, rng, loss=0.1)
    peer.set_clock(step)
    peer.run(1000, rng, loss=0.1)
    for _ in range(6):
        peer.skip(RING // 5)
        peer.replay(rng, 100)
    peer.run(1000, rng, loss=0.1)


@pytest.mark.parametrize("start", [0, 2**32 - 600, 2**33, -30])
def test_times_wrap_and_a_clock_may_be_set_there(start: int, seed: int) -> None:
    rng, peer = random.Random(seed), Peer(start)
    for step in (0, -30, HOUR, -HOUR, 0):
        peer.run(1000, rng, loss=0.1)
        peer.set_clock(step)
        peer.skip(RING // 3)
        peer.replay(rng, 100)


def test_whatever_a_clock_is_set_to_nothing_is_accepted_twice(seed: int) -> None:
    """Doubtful packets may be dropped here: a sender that is too fast breaks its own rules."""
    steps = [0, 1, -1, -2, -30, -300, -1092, -HOUR, HOUR, 1092, 2**31 - 1, -(2**31), 2**30]
    for each in range(5):
        rng = random.Random(seed + each)
        peer = Peer(per_second=rng.choice([10, 60, 60, 1000, 40_000]))
        while peer.number < 3.5 * RING:
            peer.number += rng.choice([0, 10, 1000])
            for _ in range(rng.choice([1, 5, 100])):
                accept_at_most_once(peer, peer.send())
            peer.set_clock(rng.choice(steps) * rng.choice([0, 1]))
            laps_ago = [
                bisect_left(peer.recorded, peer.number - lap * RING, key=lambda p: p.number)
                for lap in (0, 1, 2, 3)
            ]
            for place in [*laps_ago, *(rng.randrange(len(peer.recorded)) for _ in range(4))]:
                for packet in peer.recorded[max(place - 10, 0) : place + 10]:
                    accept_at_most_once(peer, packet)


def accept_at_most_once(peer: Peer, packet: Packet) -> None:
    if receive(peer.window, *packet.header):
        assert not packet.accepted, packet
        packet.accepted = True


def test_a_clock_that_stands_still_for_a_lap_accepts_nothing_twice() -> None:
    window = ReceiveWindow()
    headers = [(models.to_wire(number), START) for number in range(1, RING + 1)]
    assert all(receive(window, *header) for header in headers)
    assert not any(receive(window, *header) for header in headers)
    assert receive(window, 1, START + 100)
    assert not any(receive(window, *header) for header in headers)


def test_before_the_first_wrap_any_time_is_good() -> None:
    window, rng = ReceiveWindow(), random.Random(0)
    for seq in range(1, RING, 97):
        assert receive(window, seq, rng.randrange(2**32))


def test_after_it_a_time_near_that_of_the_number_a_lap_ago_is_not() -> None:
    peer = Peer()
    peer.skip(RING + 100, 10)
    time = START + 120 // PER_SECOND
    for near in (-60, 0, 60):
        assert arrival(peer.window, 120, time + near) == "out of time"
    assert arrival(peer.window, 120, time - 300) == "fresh"
    assert arrival(peer.window, 120, time + 300) == "fresh"


def test_an_older_number_with_a_newer_time_is_still_refused() -> None:
    window = ReceiveWindow()
    receive(window, 10, 100)
    receive(window, 12, 70)
    assert arrival(window, 11, 100) == "out of time"
    assert arrival(window, 11, 70) == "fresh"
