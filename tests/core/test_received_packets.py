"""The received packets of protocol 2, against a model that forgets nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire2.frames import ack_of

from mpgameserver._core.frames import MAX_ACK_RANGES
from mpgameserver._core.received_packets import REMEMBERED_PACKETS, ReceivedPackets


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    """The ranges that the second codec makes of some numbers, as the product has them."""
    return [(newest, oldest) for oldest, newest in ack_of(numbers, 0).ranges]


class Receiver:
    """The product, and all numbers that it was given."""

    def __init__(self) -> None:
        self.packets = ReceivedPackets()
        self.all: set[int] = set()
        self.newest = 0

    def receive(self, number: int) -> None:
        is_new = number not in self.all and number >= self.newest - REMEMBERED_PACKETS
        assert self.packets.is_new(number) == is_new
        if is_new:
            assert self.packets.enter(number) == (number != self.newest + 1)
            self.all.add(number)
            self.newest = max(self.newest, number)
            assert not self.packets.is_new(number)

    def reported(self) -> list[tuple[int, int]]:
        """The ranges that an ACK should have while the peer knows of nothing."""
        known = {n for n in self.all if n >= self.newest - REMEMBERED_PACKETS}
        return ranges_of(known) if known else []


@given(st.lists(st.integers(1, 400), max_size=120), st.integers(0, 1 << 61))
def test_every_number_is_new_once_and_is_reported(offsets, base):
    receiver = Receiver()
    for offset in offsets:
        receiver.receive(base + offset)
    assert receiver.packets.ack_ranges() == receiver.reported()


@pytest.mark.parametrize("loss", [0.0, 0.02, 0.5])
def test_numbers_far_apart_and_out_of_order(loss, seed):
    """A long session, reordered over a few thousand packets, with a part of them lost."""
    rng = random.Random(seed)
    receiver = Receiver()
    sent = [n for n in range(1, 20_000) if rng.random() >= loss]
    sent.sort(key=lambda number: number + rng.choice((0, 0, 0, rng.randrange(9000))))
    for place, number in enumerate(sent):
        receiver.receive(number)
        if place % 977 == 0:
            assert receiver.packets.ack_ranges() == receiver.reported()[:MAX_ACK_RANGES]


def test_a_number_too_old_to_tell_is_not_new():
    packets = ReceivedPackets()
    for number in (1, REMEMBERED_PACKETS + 10):
        packets.enter(number)
    assert not packets.is_new(9)
    assert packets.is_new(10)


class TestWhatThePeerKnows:
    def test_is_not_reported_again(self):
        packets = ReceivedPackets()
        for number in (1, 3, 5, 7):
            packets.enter(number)
        packets.on_report_acked(7, packets.late)
        packets.enter(9)
        assert packets.ack_ranges() == [(9, 9)]

    def test_the_newest_is_reported_at_least(self):
        packets = ReceivedPackets()
        packets.enter(4)
        packets.on_report_acked(4, packets.late)
        assert packets.ack_ranges() == [(4, 4)]

    def test_does_not_cover_what_came_late_since(self):
        packets = ReceivedPackets()
        for number in (1, 2, 5):
            packets.enter(number)
        late_then = packets.late
        packets.enter(3)
        packets.on_report_acked(5, late_then)
        assert packets.ack_ranges() == [(5, 5), (3, 1)]
        packets.on_report_acked(5, packets.late)
        packets.enter(6)
        assert packets.ack_ranges() == [(6, 6)]

    def test_what_comes_late_after_it_is_reported_again_with_what_is_above(self):
        packets = ReceivedPackets()
        for number in (1, 3, 5):
            packets.enter(number)
        packets.on_report_acked(5, packets.late)
        packets.enter(2)
        assert packets.ack_ranges() == [(5, 5), (3, 2)]

    @given(st.data())
    def test_every_packet_is_reported_in_an_ack_that_arrives(self, data):
        """Whatever is lost and reordered, on both ways, the sender learns of every packet."""
        packets = ReceivedPackets()
        waiting = list(range(1, data.draw(st.integers(1, 40))))
        reports: list[tuple[int, int, set[int]]] = []
        told: set[int] = set()
        received: set[int] = set()
        while waiting or reports:
            step = data.draw(st.integers(0, 2))
            if step == 0 and waiting:
                number = waiting.pop(data.draw(st.integers(0, min(len(waiting), 6) - 1)))
                packets.enter(number)
                received.add(number)
            elif step == 1 and received and len(reports) < 5:
                numbers = {n for hi, lo in packets.ack_ranges() for n in range(lo, hi + 1)}
                reports.append((max(received), packets.late, numbers))
            elif step == 2 and reports:
                newest, late, numbers = reports.pop(data.draw(st.integers(0, len(reports) - 1)))
                if data.draw(st.booleans()):
                    told |= numbers
                    packets.on_report_acked(newest, late)
        told |= {n for hi, lo in packets.ack_ranges() for n in range(lo, hi + 1)}
        assert told >= received


@pytest.mark.parametrize("number", [0, -1, (1 << 62) + 1])
def test_a_number_that_no_packet_has_is_refused(number):
    with pytest.raises(ValueError, match="number must be"):
        ReceivedPackets().enter(number)
