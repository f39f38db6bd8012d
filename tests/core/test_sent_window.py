"""The sent window, against a model that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import models
from support.examples import examples
from support.packetwindows import (
    acknowledge,
    acknowledge_ranges,
    lost,
    receive,
    send,
    timed_out,
)

from mpgameserver._core.frames import MAX_ACK_RANGES
from mpgameserver._core.receive_window import ReceiveWindow
from mpgameserver._core.received_packets import ReceivedPackets
from mpgameserver._core.sent_window import SentWindow

RING = models.RING
MAX_PER_SECOND = 32767
CORNERS = (1, 32767, 32768, 65535)
ALL_BITS = 0xFFFFFFFF
SLOTS = 32768
MAX_SKIPPED = 16


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
        unsettled = self.model.unsettled(ack, bits)
        self.agree_on(acknowledge(self.window, ack, bits), unsettled)

    def agree_on(self, settled, unsettled):
        """Compare what an ack has settled with what it may settle."""
        numbers = {number for number, _, _ in settled}
        for packet in unsettled:
            if packet.number not in numbers:
                self.model.forget(packet)
        remembered = [packet for packet in unsettled if packet.number in numbers]
        assert settled == self.model.acknowledge(remembered)

    @rule(data=st.data())
    def acknowledge_ranges(self, data):
        bounds = data.draw(st.lists(st.integers(0, 200), max_size=8, unique=True).map(sorted))
        newest = self.model.newest
        ranges = [(newest - a, newest - b) for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
        ranges = [(top, max(bottom, 1)) for top, bottom in ranges if top > 0]
        if data.draw(st.booleans()):
            ranges[-1:] = [(top, 1) for top, _ in ranges[-1:]]
        unsettled = self.model.unsettled_in(ranges)
        self.agree_on(acknowledge_ranges(self.window, ranges), unsettled)

    @rule(count=st.integers(1, 3))
    def skip_numbers(self, count):
        for _ in range(count):
            assert self.window.skip_number(self.now) == self.model.skip()

    @rule(newest=st.integers(0, 200), oldest=st.integers(0, 200))
    def ask_what_was_sent(self, newest, oldest):
        newest, oldest = self.model.newest + 2 - newest, self.model.newest + 2 - oldest
        skipped = sorted(self.model.skipped)[-MAX_SKIPPED:]
        assert self.window.was_sent(newest, oldest) == (
            oldest >= 1
            and newest <= self.model.newest
            and not any(oldest <= number <= newest for number in skipped)
        )

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


def full(acked_in_one: bool) -> SentWindow:
    """A window of as many packets as it holds, all acked: by one range, or one range each."""
    window = SentWindow()
    for _ in range(SLOTS):
        send(window, 0.0)
    if acked_in_one:
        acknowledge_ranges(window, [(SLOTS, 1)])
    else:
        acknowledge_ranges(window, [(number, number) for number in range(1, SLOTS + 1)])
    assert window.oldest_undecided == SLOTS + 1
    return window


class TestRanges:
    """The ACKs of protocol 2."""

    def test_the_packets_of_each_range_are_newly_acked_from_new_to_old(self):
        assert acknowledge_ranges(sent(9), [(8, 7), (4, 2)]) == [
            (n, float(n), f"contents {n}") for n in (8, 7, 4, 3, 2)
        ]

    def test_a_packet_is_newly_acked_once(self):
        window = sent(9)
        assert len(acknowledge_ranges(window, [(6, 3)])) == 4
        assert [n for n, _, _ in acknowledge_ranges(window, [(9, 1)])] == [9, 8, 7, 2, 1]
        assert acknowledge_ranges(window, [(9, 1)]) == []

    def test_more_packets_than_an_ack_of_protocol_1_reports(self):
        window = sent(SLOTS)
        newly_acked = acknowledge_ranges(window, [(SLOTS, 1)])
        assert [number for number, _, _ in newly_acked] == list(range(SLOTS, 0, -1))
        assert newly_acked[-1] == (1, 1.0, "contents 1")

    def test_two_acks_of_a_packet_are_newly_acked_together(self):
        window = sent(9)
        window.begin_ack()
        window.on_range_acked(3, 2)
        window.on_range_acked(6, 5)
        assert [number for number, _, _ in window.take_newly_acked()] == [3, 2, 6, 5]

    def test_they_decide_packets_and_show_losses(self):
        window = sent(6)
        acknowledge_ranges(window, [(6, 5), (1, 1)])
        assert (window.newest_acked, window.oldest_undecided) == (6, 2)
        assert lost(window, 6.0, 100.0, 100.0) == [2, 3]
        assert window.oldest_undecided == 4

    def test_a_lost_packet_that_they_report_shows_reordering(self):
        window = sent(6)
        acknowledge_ranges(window, [(6, 6)])
        assert lost(window, 6.0, 100.0, 100.0) == [1, 2, 3]
        acknowledge_ranges(window, [(6, 6), (1, 1)])
        assert window.reordering == 6

    def test_numbers_before_the_first_and_after_the_newest_packet_change_nothing(self):
        window = SentWindow(5)
        send(window, 0.0)
        assert acknowledge_ranges(window, [(5, 1)]) == []
        assert acknowledge_ranges(window, [(9, 7)]) == []
        assert [number for number, _, _ in acknowledge_ranges(window, [(9, 1)])] == [6]

    @pytest.mark.parametrize("newest", [-(2**63), -1, 0, 1, 2, 2**61, 2**63 - 1])
    @pytest.mark.parametrize("oldest", [-(2**63), -1, 0, 1, 2, 2**61, 2**63 - 1])
    def test_no_range_reaches_a_packet_that_is_not_there(self, newest, oldest):
        for window in (SentWindow(), SentWindow(2**61), sent(1), sent(100)):
            last = window.newest
            for number, _, _ in acknowledge_ranges(window, [(newest, oldest)]):
                assert oldest <= number <= min(newest, last)
            assert window.newest == last

    def test_what_the_window_has_forgotten_is_not_acked(self):
        window = SentWindow()
        for _ in range(200):
            send(window, 0.0, ack_eliciting=False)
            timed_out(window, 0.0, 0.0)
        newly_acked = [number for number, _, _ in acknowledge_ranges(window, [(200, 1)])]
        assert newly_acked == list(range(200, 200 - len(newly_acked), -1))
        assert len(newly_acked) < 200

    def test_a_slot_that_is_used_again_forgets_what_was_acked_below_it(self):
        window = SentWindow()
        for number in range(1, 65):
            send(window, 0.0, ack_eliciting=False)
            timed_out(window, 0.0, 0.0)
            if number == 32:
                acknowledge_ranges(window, [(28, 8)])
        acknowledge_ranges(window, [(62, 60)])  # 60 is where 28 was
        newly_acked = [number for number, _, _ in acknowledge_ranges(window, [(61, 1)])]
        assert newly_acked == list(range(59, 32, -1))


class TestTheCostOfARange:
    def test_one_over_most_of_the_number_space_returns(self):
        window = SentWindow(2**61)
        send(window, 0.0)
        assert len(acknowledge_ranges(window, [(2**61 + 1, 1)])) == 1

    @pytest.mark.parametrize("acked_in_one", [True, False])
    @pytest.mark.parametrize("step", [0, -1, -2])
    def test_none_acks_again_what_was_acked_before(self, acked_in_one, step):
        """Whichever packets the ranges of a peer begin with."""
        window = full(acked_in_one)
        for n in range(1000):
            assert acknowledge_ranges(window, [(SLOTS + step * n, 1)]) == []


class TestSkippedNumbers:
    def test_are_not_used_for_packets(self):
        window = sent(2)
        assert window.skip_number(2.0) == 3
        assert send(window, 2.0) == 4

    def test_were_not_sent(self):
        window = sent(2)
        window.skip_number(2.0)
        send(window, 2.0)
        assert window.was_sent(2, 1)
        assert window.was_sent(4, 4)
        for newest, oldest in ((3, 3), (4, 1), (3, 2), (4, 3)):
            assert not window.was_sent(newest, oldest)

    def test_are_neither_lost_nor_timed_out_nor_acked(self):
        window = SentWindow()
        for _ in range(3):
            window.skip_number(0.0)
        assert window.oldest_undecided == 4
        assert acknowledge_ranges(window, [(3, 1)]) == []
        assert (window.newest_acked, window.reordering) == (0, 3)
        assert lost(window, 100.0, 0.0, 0.0) == []
        assert timed_out(window, 100.0, 0.0) == []

    def test_the_last_ones_are_known_however_much_was_sent_since(self):
        window = SentWindow()
        skipped = [window.skip_number(0.0)]
        for _ in range(MAX_SKIPPED - 1):
            send(window, 0.0)
            skipped.append(window.skip_number(0.0))
        for _ in range(2 * SLOTS):
            send(window, 0.0, ack_eliciting=False)
        assert not any(window.was_sent(number, number) for number in skipped)
        window.skip_number(0.0)
        assert window.was_sent(skipped[0], skipped[0])
        assert not window.was_sent(skipped[1], skipped[1])


@pytest.mark.parametrize(
    ("newest", "oldest"), [(4, 1), (4, 4), (2**62, 1), (3, 0), (0, 0), (3, -1)]
)
def test_a_number_beyond_those_of_packets_was_not_sent(newest, oldest):
    assert not sent(3).was_sent(newest, oldest)


class TestAChangeOfPath:
    def test_takes_for_lost_what_is_in_flight(self):
        window = sent(3)
        assert window.path_start == 0
        window.on_path_changed()
        assert window.path_start == 4
        send(window, 3.0)
        assert lost(window, 3.0, 100.0, 100.0) == [1, 2, 3]
        assert window.oldest_undecided == 4

    def test_a_packet_that_took_the_former_path_is_still_acked_and_shows_no_reordering(self):
        window = sent(3)
        window.on_path_changed()
        lost(window, 3.0, 100.0, 100.0)
        send(window, 4.0, "contents 4")
        newly_acked = acknowledge_ranges(window, [(4, 2)])
        assert newly_acked == [(n, float(n), f"contents {n}") for n in (4, 3, 2)]
        assert window.reordering == 3

    def test_forgets_that_the_former_path_reordered(self):
        window = sent(4)
        acknowledge_ranges(window, [(4, 4)])
        lost(window, 4.0, 100.0, 100.0)
        acknowledge_ranges(window, [(1, 1)])
        assert window.reordering == 6
        window.on_path_changed()
        assert window.reordering == 3


class TestReports:
    """The ACK that a packet carried: what the peer knows once the packet is acked."""

    def test_the_newest_one_that_was_acked_counts(self):
        window = SentWindow()
        for reported in (7, 9, 8):
            send(window, 0.0)
            window.on_report_sent(reported, 0)
        send(window, 0.0)
        acknowledge_ranges(window, [(1, 1)])
        assert window.newest_report_acked(0) == 7
        acknowledge_ranges(window, [(4, 2)])
        assert window.newest_report_acked(0) == 9

    def test_a_packet_without_one_reports_nothing(self):
        window = SentWindow()
        for _ in range(200):
            send(window, 0.0, ack_eliciting=False)
            window.on_report_sent(9, 0)
            timed_out(window, 0.0, 0.0)
        for _ in range(200):
            send(window, 0.0, ack_eliciting=False)
            timed_out(window, 0.0, 0.0)
        acknowledge_ranges(window, [(400, 390)])
        assert window.newest_report_acked(0) == 0

    def test_one_made_before_a_packet_came_late_does_not_count(self):
        window = SentWindow()
        for reported, late in ((9, 0), (8, 1), (10, 0)):
            send(window, 0.0)
            window.on_report_sent(reported, late)
        acknowledge_ranges(window, [(3, 1)])
        assert window.newest_report_acked(1) == 8
        assert window.newest_report_acked(2) == 0

    def test_it_is_known_after_the_window_has_grown(self):
        window = SentWindow()
        send(window, 0.0)
        window.on_report_sent(2**62 - 1, 2**32 - 1)
        for _ in range(500):
            send(window, 0.0)
        acknowledge_ranges(window, [(1, 1)])
        assert window.newest_report_acked(2**32 - 1) == 2**62 - 1


class Receiver:
    """A receiver of packets that sends ACKs of them, each with a PING."""

    def __init__(self) -> None:
        self.sent, self.received = SentWindow(), ReceivedPackets()

    def report(self) -> list[tuple[int, int]]:
        """Send an ACK; return its ranges."""
        ranges = self.received.ack_ranges()
        send(self.sent, 0.0)
        self.sent.on_report_sent(ranges[0][0], self.received.late)
        return ranges

    def on_report_acked(self, number: int) -> None:
        """Take in that an ACK has arrived, which is what a packet was acked for."""
        acknowledge_ranges(self.sent, [(number, number)])
        late = self.received.late
        self.received.on_report_acked(self.sent.newest_report_acked(late), late)


@given(
    st.lists(st.sampled_from((0, 1, 3)), max_size=2 * MAX_ACK_RANGES),
    st.randoms(use_true_random=False),
)
def test_every_packet_that_arrives_is_acked_once_though_acks_omit_what_is_known(delays, rng):
    """Packets overtake each other and are lost, and so are ACKs, and the acks of ACKs."""
    window, receiver = SentWindow(), Receiver()
    arrivals = [(send(window, 0.0) + delay, delay) for delay in delays]
    arrived = [place - delay for place, delay in sorted(arrivals) if rng.random() < 0.8]
    newly_acked = []
    for number in arrived:
        receiver.received.enter(number)
        ranges = receiver.report()
        if number == arrived[-1] or rng.random() < 0.5:
            assert all(window.was_sent(newest, oldest) for newest, oldest in ranges)
            newly_acked += [n for n, _, _ in acknowledge_ranges(window, ranges)]
            if rng.random() < 0.5:
                receiver.on_report_acked(receiver.sent.newest)
    assert sorted(newly_acked) == sorted(arrived)


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
