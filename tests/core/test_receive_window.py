"""The receive window, against a model that forgets nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import models, wire
from support.examples import examples
from support.packetwindows import arrival, receive

from mpgameserver._core.receive_window import MAX_JUMP, RECEIVE_WIDTH, ReceiveWindow

RING = models.RING
MAX_PER_SECOND = 32767
CORNERS = (1, 32767, 32768, 65535)
ALL_BITS = 0xFFFFFFFF


class Sender:
    """An honest sender: its times never decrease, and 32,767 packets at most share one."""

    def __init__(self, before: int = 0, time: int = 1_700_000_000) -> None:
        self.number, self.time, self.sent_in_second = before, time, 0

    def wait(self, seconds: int) -> None:
        self.time += seconds
        self.sent_in_second = 0

    def send(self, count: int = 1) -> tuple[int, int]:
        """Send packets; return the wire number and time of the last."""
        for _ in range(count):
            if self.sent_in_second == MAX_PER_SECOND:
                self.wait(1)
            self.number += 1
            self.sent_in_second += 1
        return models.to_wire(self.number), self.time


class ReceiveWindowMachine(RuleBasedStateMachine):
    """An honest sender, and a network that loses, delays and replays.

    The burst lengths make the counter wrap about once in ten steps.
    """

    def __init__(self):
        super().__init__()
        self.window, self.model = ReceiveWindow(), models.ReceiveModel()
        self.recorded: list[tuple[int, int]] = []
        self.on_the_way: list[tuple[int, int]] = []

    @initialize(before=st.sampled_from((0, 1, 32766, 65533, 65534, 65535)))
    def start(self, before):
        self.sender = Sender(before)

    def deliver(self, packet):
        expected = self.model.arrival(*packet)
        found = arrival(self.window, *packet)
        assert expected in (found, None)
        fresh = found == "fresh"
        assert receive(self.window, *packet) is fresh
        if fresh:
            self.model.accept(*packet)
            self.recorded.append(packet)
        return fresh

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds):
        self.sender.wait(seconds)

    @rule(count=st.integers(1, 40) | st.sampled_from((1023, 1024, 1025, 5000, MAX_JUMP)))
    def lose_all_but_the_last(self, count):
        behind = (
            wire.diff(models.to_wire(self.sender.number), self.model.ack) if self.recorded else 0
        )
        assert self.deliver(self.sender.send(min(count, MAX_JUMP - behind)))

    @rule(count=st.integers(1, 100))
    def deliver_a_run(self, count):
        for _ in range(count):
            assert self.deliver(self.sender.send())

    @rule(count=st.integers(1, 50))
    def delay(self, count):
        self.on_the_way += [self.sender.send() for _ in range(count)]

    @precondition(lambda self: self.on_the_way)
    @rule(rng=st.randoms(use_true_random=False))
    def deliver_what_was_delayed(self, rng):
        rng.shuffle(self.on_the_way)
        while self.on_the_way:
            self.deliver(self.on_the_way.pop())

    @precondition(lambda self: self.recorded)
    @rule(rng=st.randoms(use_true_random=False))
    def replay(self, rng):
        ago = (1, 2, 33, 1024, 1025, len(self.recorded))
        for packet in {self.recorded[-min(n, len(self.recorded))] for n in ago} | set(
            rng.sample(self.recorded, min(20, len(self.recorded)))
        ):
            assert not self.deliver(packet)

    @rule(step=st.integers(-40, 40), seconds=st.integers(-3, 3))
    def look_at_a_neighbour(self, step, seconds):
        seq = models.to_wire(max(self.sender.number + step, 1))
        packet = seq, max(self.sender.time + seconds, 0)
        assert self.model.arrival(*packet) in (arrival(self.window, *packet), None)

    @invariant()
    def the_ack_fields_are_those_of_the_model(self):
        window, model = self.window, self.model
        assert (window.newest, window.ack(), window.ack_bits()) == (
            model.newest,
            model.ack,
            model.ack_bits,
        )
        assert window.newest_time == model.accepted.get(model.newest, 0)


TestReceiveWindowMachine = ReceiveWindowMachine.TestCase
TestReceiveWindowMachine.settings = settings(max_examples=examples(40), stateful_step_count=50)


class TestReceiveWindow:
    def test_before_the_first_packet_it_acks_nothing(self):
        window = ReceiveWindow()
        assert (window.newest, window.newest_time, window.ack(), window.ack_bits()) == (0, 0, 0, 0)

    @pytest.mark.parametrize("seq", CORNERS)
    @pytest.mark.parametrize("time", [0, 1, 2**31, 2**32 - 1])
    def test_any_first_packet_is_fresh_once(self, seq, time):
        window = ReceiveWindow()
        assert receive(window, seq, time)
        assert (window.ack(), window.ack_bits(), window.newest_time) == (seq, 0, time)
        assert arrival(window, seq, time) == "duplicate"

    def test_looking_changes_nothing(self):
        window = ReceiveWindow()
        for _ in range(2):
            assert arrival(window, 7, 100) == "fresh"
            assert (window.newest, window.ack_bits()) == (0, 0)

    @pytest.mark.parametrize("first", CORNERS)
    @pytest.mark.parametrize("back", [1, 2, 31, 32])
    def test_each_ack_bit_stands_for_one_number(self, first, back):
        window, sender = ReceiveWindow(), Sender(first + RING - 1)
        packets = [sender.send() for _ in range(33)]
        receive(window, *packets[32 - back])
        receive(window, *packets[32])
        assert (window.ack(), window.ack_bits()) == (packets[32][0], 1 << (32 - back))

    @pytest.mark.parametrize("newest", [1025, 40_000, RING, RING + 1, RING + 512, 3 * RING])
    def test_a_packet_1024_late_is_honest_and_1025_is_not(self, newest):
        for late, expected in ((1, "fresh"), (1024, "fresh"), (1025, "behind")):
            window, time = ReceiveWindow(), 100
            receive(window, models.to_wire(newest), time)
            assert arrival(window, models.to_wire(newest - late + RING), time) == expected

    def test_all_that_are_late_are_fresh_once(self, seed):
        sender, window = Sender(RING - 500), ReceiveWindow()
        packets = [sender.send() for _ in range(1025)]
        receive(window, *packets.pop())
        random.Random(seed).shuffle(packets)
        assert all(receive(window, *packet) for packet in packets)
        assert not any(receive(window, *packet) for packet in packets)
        assert window.ack_bits() == ALL_BITS

    @pytest.mark.parametrize("jump", [1, 63, 64, 65, 1024, 2047, 2048, 2049, MAX_JUMP])
    def test_after_a_jump_what_was_skipped_is_fresh_and_what_was_had_is_not(self, jump):
        window, sender = ReceiveWindow(), Sender(RING - 20)
        had = [sender.send() for _ in range(10)]
        assert all(receive(window, *packet) for packet in had)
        skipped = [sender.send() for _ in range(jump - 1)][-RECEIVE_WIDTH:]
        assert receive(window, *sender.send())
        assert not any(receive(window, *packet) for packet in had)
        assert all(receive(window, *packet) for packet in skipped)

    def test_a_longer_jump_is_no_honest_gap(self):
        window = ReceiveWindow()
        receive(window, 1, 100)
        assert arrival(window, 1 + MAX_JUMP, 100) == "fresh"
        assert arrival(window, 2 + MAX_JUMP, 200) == "too far ahead"
        assert not receive(window, 2 + MAX_JUMP, 200)
        assert window.ack() == 1

    def test_an_older_number_does_not_carry_a_newer_time(self):
        window = ReceiveWindow()
        receive(window, 10, 100)
        assert arrival(window, 9, 101) == "out of time"
        assert arrival(window, 9, 100) == "fresh"

    @pytest.mark.parametrize("laps", [1, 2, 5])
    def test_a_packet_of_an_earlier_lap_is_not_taken_for_one_that_was_lost(self, laps):
        window, sender = ReceiveWindow(), Sender()
        first = [sender.send() for _ in range(1000)]
        assert all(receive(window, *packet) for packet in first)
        for _ in range(laps * RING - 1000):
            last = sender.send()
            if sender.number % 16000 == 0:
                assert receive(window, *last)
        lost = [sender.send() for _ in range(1000)]
        assert receive(window, *sender.send())
        assert [number for number, _ in lost] == [number for number, _ in first]
        assert not any(receive(window, *packet) for packet in first)
        assert all(receive(window, *packet) for packet in lost)

    @pytest.mark.parametrize("ahead", [1, 1000, MAX_JUMP, 32767])
    def test_a_packet_of_half_a_lap_ago_is_not_taken_for_a_newer_one(self, ahead):
        window, sender, recorded = ReceiveWindow(), Sender(), []
        for _ in range(RING - ahead):
            packet = sender.send()
            if sender.number % 100 == 1:
                assert receive(window, *packet)
                recorded.append(packet)
        assert recorded
        assert not any(receive(window, *packet) for packet in recorded)

    def test_at_full_speed_no_recorded_packet_passes_in_three_laps(self):
        window, sender, recorded = ReceiveWindow(), Sender(), []
        for number in range(1, 3 * RING):
            packet = sender.send()
            if number % 7:
                assert receive(window, *packet)
                recorded.append(packet)
        assert not any(receive(window, *packet) for packet in recorded[::13])

    @pytest.mark.parametrize("call", ["judge", "enter"])
    def test_0_is_no_packet_number(self, call):
        with pytest.raises(ValueError, match="0"):
            getattr(ReceiveWindow(), call)(0, 0)

    @pytest.mark.parametrize(("seq", "time"), [(-1, 0), (65536, 0), (1, -1), (1, 2**32)])
    @pytest.mark.parametrize("call", ["judge", "enter"])
    def test_what_a_field_does_not_hold_is_an_overflow_error(self, call, seq, time):
        window = ReceiveWindow()
        with pytest.raises(OverflowError):
            getattr(window, call)(seq, time)
        assert window.newest == 0
