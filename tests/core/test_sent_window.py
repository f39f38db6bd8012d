"""The sent window, against a model that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import models
from support.examples import examples
from support.packetwindows import acknowledge, lost, receive, send, timed_out

from mpgameserver._core.receive_window import ReceiveWindow
from mpgameserver._core.sent_window import SentWindow

RING = models.RING
MAX_PER_SECOND = 32767
CORNERS = (1, 32767, 32768, 65535)
ALL_BITS = 0xFFFFFFFF


class SentWindowMachine(RuleBasedStateMachine):
    """Packets leave, acks of all kinds come in, time passes in steps that floats hold exactly."""

    pauses = st.integers(0, 20).map(lambda steps: steps / 64)

    @initialize(previous=st.sampled_from((0, 1, 32766, 65533, 65534, 65535)))
    def create(self, previous):
        self.window, self.model = SentWindow(previous), models.SentModel(previous)
        self.now = 0.0

    @rule(count=st.integers(1, 40), owes_ack=st.booleans(), pause=pauses)
    def send(self, count, owes_ack, pause):
        for _ in range(count):
            self.now += pause
            contents = object()
            number = send(self.window, self.now, contents, owes_ack)
            assert number == self.model.send(self.now, contents, owes_ack)

    @precondition(lambda self: self.model.newest > self.model.previous + 66)
    @rule(back=st.integers(0, 33), bits=st.integers(0, ALL_BITS) | st.just(ALL_BITS))
    def acknowledge(self, back, bits):
        ack = models.to_wire(self.model.newest - back)
        settled = acknowledge(self.window, ack, bits)
        for packet in self.model.unsettled(ack, bits):
            if packet.number not in [number for number, _, _ in settled]:
                self.model.forget(packet)
        assert settled == self.model.acknowledge(ack, bits)

    @rule(ahead=st.integers(1, 32767), bits=st.integers(0, ALL_BITS))
    def acknowledge_what_was_never_sent(self, ahead, bits):
        ack = models.to_wire(self.model.newest + ahead)
        if self.model.newest:
            assert acknowledge(self.window, ack, bits) == []

    @rule(bits=st.integers(0, ALL_BITS))
    def acknowledge_nothing(self, bits):
        assert acknowledge(self.window, 0, bits) == []

    @rule(
        pause=pauses,
        reorder=st.sampled_from((1 / 64, 3 / 64, 1.0)),
        probe=st.sampled_from((3 / 64, 0.25, 5.0)),
    )
    def find_what_is_lost(self, pause, reorder, probe):
        self.now += pause
        found = lost(self.window, self.now, reorder, probe)
        assert found == self.model.lost(self.now, reorder, probe)

    @rule(pause=pauses, timeout=st.sampled_from((0.0, 1 / 8, 1.0)))
    def find_what_timed_out(self, pause, timeout):
        self.now += pause
        found = timed_out(self.window, self.now, timeout)
        assert found == self.model.timed_out(self.now, timeout)

    @invariant()
    def they_agree(self):
        if hasattr(self, "window"):
            assert (
                self.window.newest,
                self.window.newest_acked,
                self.window.oldest_undecided,
            ) == (self.model.newest, self.model.newest_acked, self.model.oldest_undecided)


TestSentWindowMachine = SentWindowMachine.TestCase
TestSentWindowMachine.settings = settings(max_examples=examples(40), stateful_step_count=40)


def sent(count: int, previous: int = 0) -> SentWindow:
    """A window that has sent so many packets, one each second from 1.0 on."""
    window = SentWindow(previous)
    for number in range(1, count + 1):
        send(window, float(number), f"contents {number}")
    return window


class TestSentWindow:
    def test_the_numbers_go_on_after_those_of_the_handshake(self):
        window = SentWindow(2)
        assert (window.newest, window.newest_acked, window.oldest_undecided) == (2, 0, 3)
        assert [send(window, 0.0), send(window, 0.0)] == [3, 4]

    def test_an_ack_tells_when_the_packet_left_and_what_it_carried(self):
        assert acknowledge(sent(3), 2, 1 << 31) == [(2, 2.0, "contents 2"), (1, 1.0, "contents 1")]

    def test_an_ack_settles_once(self):
        window = sent(3)
        assert len(acknowledge(window, 3, ALL_BITS)) == 3
        assert acknowledge(window, 3, ALL_BITS) == []

    @pytest.mark.parametrize("back", [1, 2, 31, 32])
    def test_each_ack_bit_stands_for_one_packet(self, back):
        window = sent(40)
        settled = acknowledge(window, 40, 1 << (32 - back))
        assert [number for number, _, _ in settled] == [40, 40 - back]

    def test_bits_that_reach_before_the_first_packet_are_passed_over(self):
        assert [number for number, _, _ in acknowledge(sent(2), 2, ALL_BITS)] == [2, 1]

    def test_an_ack_of_what_was_never_sent_changes_nothing(self):
        window = sent(3)
        for ack in (4, 100, 32770):
            assert acknowledge(window, ack, ALL_BITS) == []
        assert (window.newest_acked, window.oldest_undecided) == (0, 1)

    def test_an_ack_before_anything_was_sent_changes_nothing(self):
        window = SentWindow()
        assert acknowledge(window, 1, ALL_BITS) == []
        assert send(window, 0.0) == 1

    def test_numbers_and_acks_go_on_through_the_wrap(self):
        window = SentWindow(65530)
        for number in range(65531, 65600):
            assert send(window, 0.0) == number
            assert acknowledge(window, models.to_wire(number), 0)[0][0] == number
        assert window.oldest_undecided == 65600

    def test_three_later_acks_show_a_loss(self):
        for later, expected in ((1, []), (2, []), (3, [1])):
            window = sent(5)
            acknowledge(window, 1 + later, ALL_BITS << (33 - later) & ALL_BITS if later > 1 else 0)
            assert lost(window, 5.0, 100.0, 100.0) == expected

    def test_one_later_ack_and_the_loss_delay_show_a_loss(self):
        window = sent(2)
        acknowledge(window, 2, 0)
        assert lost(window, 1.4, 0.5, 100.0) == []
        assert lost(window, 1.5, 0.5, 100.0) == [1]

    def test_without_a_later_ack_the_probe_timeout_shows_a_loss(self):
        window = sent(2)
        assert lost(window, 1.9, 0.1, 1.0) == []
        assert lost(window, 2.0, 0.1, 1.0) == [1]
        assert lost(window, 3.0, 0.1, 1.0) == [2]
        assert window.oldest_undecided == 3

    def test_a_packet_is_lost_once(self):
        window = sent(3)
        assert lost(window, 100.0, 1.0, 1.0) == [1, 2, 3]
        assert lost(window, 200.0, 1.0, 1.0) == []

    def test_a_lost_packet_is_still_settled_by_a_late_ack(self):
        window = sent(1)
        assert lost(window, 100.0, 1.0, 1.0) == [1]
        assert timed_out(window, 100.0, 1.0) == [1]
        assert acknowledge(window, 1, 0) == [(1, 1.0, "contents 1")]

    def test_what_owes_no_ack_is_neither_lost_nor_timed_out(self):
        window = SentWindow()
        for _ in range(5):
            send(window, 0.0, None, False)
        assert window.oldest_undecided == 6
        assert lost(window, 100.0, 1.0, 1.0) == []
        assert timed_out(window, 100.0, 1.0) == []
        assert [number for number, _, _ in acknowledge(window, 5, ALL_BITS)] == [5, 4, 3, 2, 1]

    def test_it_remembers_what_is_undecided_however_much_follows(self):
        window = sent(1)
        for _ in range(2000):
            send(window, 2.0, None, False)
        assert window.oldest_undecided == 1
        assert acknowledge(window, 1, 0) == [(1, 1.0, "contents 1")]

    def test_what_it_can_no_longer_hold_has_timed_out(self):
        window = sent(1)
        for _ in range(32767):
            send(window, 2.0, None, False)
        assert timed_out(window, 2.0, 100.0) == [1]

    @pytest.mark.parametrize(("ack", "bits"), [(-1, 0), (65536, 0), (1, -1), (1, 2**32)])
    def test_what_an_ack_field_does_not_hold_is_an_overflow_error(self, ack, bits):
        window = sent(1)
        with pytest.raises(OverflowError):
            acknowledge(window, ack, bits)
        assert window.newest_acked == 0

    @given(st.lists(st.booleans(), max_size=200), st.randoms(use_true_random=False))
    def test_with_two_windows_every_packet_that_arrives_is_settled_once(self, arrives, rng):
        ours, theirs, settled = SentWindow(65500), ReceiveWindow(), []
        for now, passes in enumerate(arrives):
            number = send(ours, float(now))
            if passes:
                receive(theirs, models.to_wire(number), 0)
            if rng.random() < 0.2:
                settled += acknowledge(ours, theirs.ack(), theirs.ack_bits())
        settled += acknowledge(ours, theirs.ack(), theirs.ack_bits())
        numbers = [number for number, _, _ in settled]
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= {65501 + i for i, passes in enumerate(arrives) if passes}


class TestReordering:
    """The number of later packets that must be acked before a packet counts as lost."""

    def test_it_is_three_on_a_path_that_keeps_the_order(self) -> None:
        window = SentWindow()
        for _ in range(4):
            send(window, 0.0)
        acknowledge(window, 3, 0)
        assert lost(window, 0.0, 1.0, 1.0) == []
        acknowledge(window, 4, 0)
        assert lost(window, 0.0, 1.0, 1.0) == [1]
        assert window.reordering == 3

    def test_it_doubles_when_a_packet_found_lost_is_acked_after_all(self) -> None:
        window = SentWindow()
        for _ in range(4):
            send(window, 0.0)
        acknowledge(window, 4, 0)
        assert lost(window, 0.0, 1.0, 1.0) == [1]
        acknowledge(window, 1, 0)
        assert window.reordering == 6
        for _ in range(6):
            send(window, 0.0)
        acknowledge(window, 10, 0xC000_0000)
        assert lost(window, 0.0, 1.0, 1.0) == [2, 3]
        acknowledge(window, 10, 0xE000_0000)
        assert lost(window, 0.0, 1.0, 1.0) == []

    def test_time_still_tells_what_is_lost(self) -> None:
        window = SentWindow()
        for _ in range(100):
            send(window, 0.0)
        for spurious in range(1, 20):
            acknowledge(window, 100, 0)
            lost(window, 0.0, 1.0, 1.0)
            acknowledge(window, spurious, 0)
        assert window.reordering > 100
        assert lost(window, 0.9, 1.0, 2.0) == []
        assert 99 in lost(window, 1.0, 1.0, 2.0)
