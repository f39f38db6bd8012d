"""Limits on packets in flight: the window of the path, the kind of receiver, pacing."""

from __future__ import annotations

import itertools
import random

import pytest
from support.endpoints import EndpointPair, Outcomes, Peer, flush, messages_of, new_endpoint, paced

from mpgameserver._core.ack_frequency import AckFrequency
from mpgameserver._core.congestion import CongestionWindow
from mpgameserver.enums import RetryMode
from mpgameserver.netsim import LinkConditions

NONE = RetryMode.NONE
INITIAL, LEAST, MOST = 32.0, 8.0, 1024.0
BURST = 32


class Path:
    """A path that answers whole windows: each round its share is lost, and the rest is acked."""

    def __init__(self) -> None:
        self.window = CongestionWindow()
        self.sent = self.now = 0.0

    def round(self, delay: float, lost: float = 0.0, in_flight: int | None = None) -> float:
        """Let a window pass at this round trip, in eight acks; the window after it."""
        size = int(self.window.packets) if in_flight is None else in_flight
        first, self.sent = self.sent, self.sent + size
        self.now += delay
        for _ in range(round(size * lost)):
            self.window.on_packet_lost()
        for part in range(1, 9):
            for _ in range(round(size * (1 - lost)) // 8):
                self.window.on_packet_acked()
            self.window.on_rtt_sample(delay, self.now)
            self.window.on_ack(int(first + size * part / 8), int(self.sent), size)
        return self.window.packets

    def rounds(self, count: int, delay: float, lost: float = 0.0) -> float:
        for _ in range(count):
            self.round(delay, lost)
        return self.window.packets


class TestCongestionWindow:
    def test_it_starts_at_one_burst(self):
        assert CongestionWindow().packets == INITIAL

    def test_it_doubles_each_round_until_a_queue_shows(self):
        path = Path()
        sizes = [path.round(0.05) for _ in range(7)]
        assert sizes[-1] == MOST
        assert all(after <= 2 * before for before, after in itertools.pairwise(sizes))

    def test_a_queue_that_shows_within_a_round_takes_the_last_doubling_back(self):
        path = Path()
        path.rounds(2, 0.05)
        window = path.window
        window.on_ack(int(path.sent), int(path.sent) + 128, 128)
        for number in range(4):
            assert window.packets == 128
            window.on_rtt_sample(0.15, path.now)
            window.on_ack(int(path.sent) + number, int(path.sent) + 128, 128)
        assert window.packets == 64

    def test_a_window_that_is_not_used_does_not_grow(self):
        path = Path()
        for _ in range(20):
            path.round(0.05, in_flight=8)
        assert path.window.packets == INITIAL

    def test_growing_delay_shrinks_it(self):
        path = Path()
        path.rounds(4, 0.05)
        before = path.window.packets
        path.rounds(4, 0.20)
        assert path.window.packets < before / 2

    def test_delay_below_the_target_leaves_it_growing_by_less_and_less(self):
        steps = []
        for queue in (0.050, 0.055, 0.059):
            path = Path()
            path.rounds(3, 0.05)
            path.rounds(6, 0.05 + queue)
            before = path.window.packets
            steps.append(path.round(0.05 + queue) / before)
        assert steps[0] > steps[1] >= steps[2] >= 1.0

    def test_loss_with_queueing_shrinks_it(self):
        path = Path()
        path.rounds(3, 0.05)
        before = path.window.packets
        path.rounds(2, 0.05 + 0.055, lost=0.05)
        assert path.window.packets <= 0.75 * before

    @pytest.mark.parametrize("lost", [0.05, 0.1, 0.25])
    def test_the_same_loss_at_any_rate_does_not_hold_it_down(self, lost):
        path = Path()
        path.rounds(40, 0.05, lost)
        assert path.window.packets == MOST

    def test_loss_that_grows_with_the_window_holds_it_near_what_the_path_carries(self):
        path, carries = Path(), 100
        sizes = []
        for _ in range(100):
            over = max(0.0, 1.0 - carries / path.window.packets)
            sizes.append(path.round(0.05, over))
        assert 0.5 * carries < sum(sizes[20:]) / 80 < 1.5 * carries

    def test_it_never_falls_below_a_games_own_pace(self):
        path = Path()
        path.rounds(3, 0.05)
        path.rounds(50, 2.0, lost=0.5)
        assert path.window.packets >= LEAST

    def test_delay_that_stays_at_the_least_window_is_the_paths_own(self):
        path = Path()
        path.rounds(3, 0.05)
        path.rounds(100, 0.5)
        assert path.window.base_delay == pytest.approx(0.5)
        assert path.window.packets > LEAST

    def test_a_least_round_trip_is_forgotten_after_a_minute_or_two(self):
        path = Path()
        path.round(0.05)
        for _ in range(1300):
            path.round(0.10, in_flight=20)
        assert path.window.base_delay == pytest.approx(0.10)

    def test_the_share_of_lost_packets_is_known(self):
        window = CongestionWindow()
        for number in range(400):
            (window.on_packet_lost if number % 4 == 0 else window.on_packet_acked)()
        assert window.loss == pytest.approx(0.25, abs=0.02)


def acks_by_count(lost: list[bool]) -> list[tuple[int, int]]:
    """(newest, received) of each ack of a receiver that acks 16 at once, and the rest later."""
    arrived = [place for place, is_lost in enumerate(lost) if not is_lost]
    marks = [*range(16, len(arrived), 16), len(arrived)]
    return [(arrived[mark - 1], mark) for mark in marks]


def acks_by_clock(ticks: list[int]) -> list[tuple[int, int]]:
    """The same of one that acks what has come at each tick."""
    return [(count - 1, count) for count in [*ticks, BURST]]


def report(frequency: AckFrequency, first: int, lost: list[bool], newest: int) -> None:
    bits = 0
    for place in range(newest):
        if not lost[place]:
            bits |= 1 << (32 - (newest - place))
    frequency.on_ack(first + newest, bits)


class TestAckFrequency:
    """Bursts of 32 packets, and what their acks say of the receiver."""

    @staticmethod
    def play(bursts: int, acks, lost_acks: float = 0.0, loss: float = 0.0) -> AckFrequency:
        chance = random.Random(f"{bursts} {loss} {lost_acks}")
        frequency, number = AckFrequency(), 1
        for burst in range(bursts):
            for place in range(BURST):
                frequency.on_packet_sent(number + place, number + place, float(burst))
            lost = [chance.random() < loss for _ in range(BURST)]
            for newest, _ in acks(lost, chance):
                if chance.random() >= lost_acks:
                    report(frequency, number, lost, newest)
            number += BURST
        return frequency

    def test_a_receiver_that_acks_by_count_is_found_out(self):
        assert self.play(6, lambda lost, _: acks_by_count(lost)).is_frequent

    def test_four_bursts_are_no_proof(self):
        assert not self.play(5, lambda lost, _: acks_by_count(lost)).is_frequent

    @pytest.mark.parametrize("loss", [0.05, 0.1, 0.25])
    def test_so_it_is_where_packets_and_acks_are_lost(self, loss):
        frequency = self.play(200, lambda lost, _: acks_by_count(lost), loss, loss)
        assert frequency.is_frequent

    def test_one_that_acks_all_at_once_is_not(self):
        assert not self.play(1000, lambda lost, _: acks_by_clock([])).is_frequent

    def test_one_whose_tick_falls_anywhere_into_the_burst_is_not(self):
        frequency = self.play(20_000, lambda lost, chance: acks_by_clock([chance.randrange(1, 33)]))
        assert not frequency.is_frequent

    @staticmethod
    def play_behind_messages(bursts: int, ticks) -> AckFrequency:
        """Each burst of 24 leaves behind 8 packets, of which the receiver has acked 6.

        `ticks` are the places in the burst behind which an ack leaves.
        """
        frequency, number = AckFrequency(), 1
        for burst in range(bursts):
            for place in range(8):
                frequency.on_packet_sent(number + place, number, burst + place / 60)
            for place in range(24):
                frequency.on_packet_sent(number + 8 + place, number, burst + 0.5)
            for newest in (5, *(8 + place - 1 for place in ticks(burst)), 31):
                frequency.on_ack(number + newest, 0xFFFFFFFF)
            number += 32
        return frequency

    def test_a_receiver_that_acks_by_count_is_found_out_behind_a_few_packets(self):
        assert self.play_behind_messages(6, lambda _: [14]).is_frequent

    def test_one_that_acks_by_a_clock_is_not(self):
        chance = random.Random(1)
        assert not self.play_behind_messages(
            20_000, lambda _: [chance.randrange(1, 25)]
        ).is_frequent

    def test_packets_in_ones_and_twos_tell_nothing(self):
        frequency = AckFrequency()
        for number in range(1, 5000):
            frequency.on_packet_sent(number, number, number / 60)
            if number % 16 == 0:
                frequency.on_ack(number, 0xFFFFFFFF)
        assert (frequency.score, frequency.is_frequent) == (0, False)


class TestSpan:
    def test_towards_a_receiver_that_acks_often_more_than_32_are_under_way(self):
        pair, outcomes = EndpointPair(LinkConditions(latency=0.05)), Outcomes()
        pair.client.send_queue.add(bytes(4_000_000), -1, outcomes.expect("bulk"))
        most = 0
        while not outcomes.collect(pair.client):
            pair.tick()
            sent = pair.client.sent_packets
            most = max(most, sent.newest + 1 - sent.oldest_undecided)
            assert pair.now < 30.0
        assert 500 < most <= MOST

    def test_small_messages_do_not_wait_for_a_lost_one(self):
        """Thousands of numbers behind it leave, once the receiver is known to ack often."""
        pair = EndpointPair(LinkConditions(latency=0.05))
        arrived = []
        while not pair.client.send_limits.ack_frequency.is_frequent:
            for _ in range(600):
                pair.client.send_queue.add(b"warm")
            pair.run(0.1)
            assert pair.now < 20.0
        pair.run_until(lambda: pair.client.send_queue.pending == 0)
        pair.run(1.0)
        messages_of(pair.server)
        pair.client.send_queue.add(b"lost")
        assert len(flush(pair.client, pair.now)) == 1  # and is not given to the link
        for number in range(10_000):
            pair.client.send_queue.add(b"%d" % number)
        while len(arrived) < 1000:
            pair.tick()
            arrived += messages_of(pair.server)
        newest = len(arrived)
        pair.run_until(lambda: pair.client.send_queue.pending == 0)
        arrived += messages_of(pair.server)
        pair.run(1.0)
        arrived += messages_of(pair.server)
        assert newest > 256
        assert len(arrived) == len(set(arrived)) == 10_001

    def test_a_receiver_that_acks_by_a_clock_is_never_sent_more(self):
        client, peer, now = new_endpoint(), Peer(), 0.0
        client.send_queue.add(bytes(8_000_000))
        for _ in range(200):
            now += 0.115
            peer.read_all(paced(client, now))
            now += 0.1
            client.receive(peer.make(), now)
            sent = client.sent_packets
            assert sent.newest - sent.oldest_undecided < 32
        assert not client.send_limits.ack_frequency.is_frequent


class TestPace:
    def test_a_window_leaves_over_a_round_trip(self):
        client = new_endpoint()
        client.send_queue.add(bytes(100_000))
        assert len(flush(client, 0.0)) == 11
        assert len(paced(client, 0.001)) == 32 - 11

    def test_the_timer_says_when_it_goes_on(self):
        client = new_endpoint()
        client.send_queue.add(bytes(100_000))
        flush(client, 0.0)
        later = client.next_timer()
        assert 0.0 < later < 0.05
        assert flush(client, later - 1e-4) == []
        assert flush(client, later)


class TestRidingAgain:
    @staticmethod
    def lossy(pair: EndpointPair) -> None:
        """Let the client see that the path loses packets."""
        while pair.client.send_limits.congestion.loss <= 0.01:
            pair.client.send_queue.add(b"position", NONE)
            pair.tick()

    def test_a_small_unacked_message_goes_along_with_the_next_ones(self):
        pair = EndpointPair(LinkConditions(loss=0.3, latency=0.05), 1)
        self.lossy(pair)
        pair.run(1.0)
        before = pair.client.send_queue.retransmitted
        pair.client.send_queue.add(b"reliable")
        first = flush(pair.client, pair.now)
        pair.client.send_queue.add(b"position", NONE)
        second = flush(pair.client, pair.now + 0.03)
        assert [datagram[15] for datagram in (*first, *second)] == [1, 2]
        assert pair.client.send_queue.retransmitted == before + 1

    def test_it_does_so_twice_at_most(self):
        pair = EndpointPair(LinkConditions(loss=0.3, latency=0.05), 1)
        self.lossy(pair)
        pair.run(1.0)
        pair.client.send_queue.add(b"reliable")
        flush(pair.client, pair.now)
        counts = []
        for frame in range(1, 6):
            pair.client.send_queue.add(b"position", NONE)
            counts += [d[15] for d in flush(pair.client, pair.now + frame * 0.03)]
        assert sum(counts) == 5 + 2

    def test_a_path_that_loses_nothing_carries_nothing_twice(self):
        pair = EndpointPair(LinkConditions(latency=0.05))
        for number in range(500):
            pair.client.send_queue.add(b"%d" % number)
            pair.tick()
        pair.run(1.0)
        assert pair.client.send_queue.retransmitted == 0
        assert pair.server.repeated_messages == 0

    def test_what_rides_again_is_delivered_once(self):
        pair = EndpointPair(LinkConditions(loss=0.2, duplicate=0.2, latency=0.05, jitter=0.02), 2)
        for number in range(1000):
            pair.client.send_queue.add(b"%d" % number)
            pair.tick()
        pair.run(3.0)
        arrived = messages_of(pair.server)
        assert sorted(arrived) == sorted(b"%d" % number for number in range(1000))
