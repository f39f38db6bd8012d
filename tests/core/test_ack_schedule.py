"""When an ACK of protocol 2 is due, by the rules of docs/protocol2.md."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wire2 import frames as wire2

from mpgameserver._core.ack_schedule import (
    AT_ONCE,
    ELICITS_ACK,
    FIRST_PACKETS,
    MORE_THAN_PING,
    AckSchedule,
    ack_demand,
)
from mpgameserver._core.frames import FrameType

MESSAGE = ELICITS_ACK | MORE_THAN_PING
PING = ELICITS_ACK | AT_ONCE
DELAY = 0.025
ACK_EVERY = 16


def receive(
    schedule: AckSchedule, now: float, demand: int = MESSAGE, out_of_order: bool = False
) -> None:
    schedule.on_packet_received(now, demand, out_of_order, True)


def settled() -> AckSchedule:
    """A schedule behind the first packets of a session, nothing waiting."""
    schedule = AckSchedule()
    for _ in range(FIRST_PACKETS):
        receive(schedule, 0.0)
    schedule.on_ack_sent(0.0, True)
    return schedule


class TestWhatAFrameAsksFor:
    def test_an_ack_if_the_page_calls_it_ack_eliciting(self):
        quiet = {kind.__name__.upper() for kind in wire2.NOT_ACK_ELICITING}
        for kind in FrameType:
            is_quiet = kind.name.replace("_", "") in quiet
            assert bool(ack_demand(kind) & ELICITS_ACK) == (not is_quiet), kind

    def test_one_at_once_if_the_page_says_so(self):
        at_once = {kind.name for kind in FrameType if ack_demand(kind) & AT_ONCE}
        assert at_once == {"PING", "CONNECT", "ACCEPT", "KEM"}

    def test_all_but_a_ping_may_be_answered_by_one(self):
        for kind in FrameType:
            demand = ack_demand(kind)
            more = bool(demand & ELICITS_ACK) and kind != FrameType.PING
            assert bool(demand & MORE_THAN_PING) == more, kind

    @pytest.mark.parametrize("kind", [65, 127, 129, 255])
    def test_an_unknown_or_a_message_whatever_its_bits_is_ack_eliciting(self, kind):
        assert ack_demand(kind) == MESSAGE


class TestWhenItIsDue:
    def test_never_while_nothing_waits(self):
        schedule = AckSchedule()
        assert (schedule.due_at, schedule.at_once, schedule.waiting) == (math.inf, False, 0)

    def test_within_25_ms_of_the_first_packet_that_waits(self):
        schedule = settled()
        receive(schedule, 1.0)
        receive(schedule, 1.02)
        assert (schedule.due_at, schedule.at_once) == (1.0 + DELAY, False)

    def test_now_if_a_packet_came_out_of_order(self):
        schedule = settled()
        receive(schedule, 1.0)
        receive(schedule, 1.01, out_of_order=True)
        assert (schedule.due_at, schedule.at_once) == (1.01, False)
        receive(schedule, 1.011)
        assert schedule.due_at == 1.01

    def test_now_if_16_packets_wait(self):
        schedule = settled()
        for _ in range(ACK_EVERY - 1):
            receive(schedule, 1.0)
        assert schedule.due_at == 1.0 + DELAY
        receive(schedule, 1.01)
        assert (schedule.due_at, schedule.at_once) == (1.01, False)

    @pytest.mark.parametrize("extra", [0, MORE_THAN_PING])
    def test_before_the_next_datagram_if_a_frame_asks_for_it(self, extra):
        schedule = settled()
        receive(schedule, 1.0, PING | extra)
        assert (schedule.due_at, schedule.at_once) == (1.0, True)

    def test_before_the_next_datagram_for_each_of_the_first_packets(self):
        schedule = AckSchedule()
        for number in range(FIRST_PACKETS):
            receive(schedule, float(number))
            assert (schedule.due_at, schedule.at_once) == (float(number), True)
            schedule.on_ack_sent(float(number), False)
        receive(schedule, 20.0)
        assert (schedule.due_at, schedule.at_once) == (20.0 + DELAY, False)

    @pytest.mark.parametrize("out_of_order", [False, True])
    def test_never_for_what_is_not_ack_eliciting(self, out_of_order):
        for schedule in (AckSchedule(), settled()):
            receive(schedule, 1.0, 0, out_of_order)
            assert (schedule.due_at, schedule.at_once, schedule.waiting) == (math.inf, False, 0)

    def test_not_again_once_one_was_sent(self):
        schedule = settled()
        for _ in range(ACK_EVERY):
            receive(schedule, 1.0, PING, out_of_order=True)
        schedule.on_ack_sent(1.0, False)
        assert (schedule.due_at, schedule.at_once, schedule.waiting) == (math.inf, False, 0)
        receive(schedule, 2.0)
        assert schedule.due_at == 2.0 + DELAY

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 40).map(lambda ms: ms / 1000),
                st.sampled_from((0, MESSAGE, PING, PING | MORE_THAN_PING)),
                st.booleans(),
            ),
            max_size=80,
        )
    )
    def test_no_packet_waits_longer_than_the_page_allows(self, arrivals):
        """ACKs are sent when they are due and no earlier, in steps of one arrival."""
        schedule, now = AckSchedule(), 0.0
        waiting: list[float] = []
        for opened, (pause, demand, out_of_order) in enumerate(arrivals, 1):
            now += pause
            if schedule.due_at <= now:
                assert waiting[0] + DELAY <= now
                schedule.on_ack_sent(now, False)
                waiting.clear()
            receive(schedule, now, demand, out_of_order)
            if demand & ELICITS_ACK:
                waiting.append(now)
                is_first = opened <= FIRST_PACKETS
                assert schedule.at_once == bool(demand & AT_ONCE or is_first)
                is_due = schedule.at_once or out_of_order or len(waiting) >= ACK_EVERY
                assert schedule.due_at == (now if is_due else waiting[0] + DELAY)
                if is_due:
                    schedule.on_ack_sent(now, False)
                    waiting.clear()
            assert schedule.waiting == len(waiting)


class TestPing:
    def test_goes_with_one_ack_per_round_trip(self):
        schedule, pings = settled(), []
        for step in range(1, 41):
            now = step / 64
            receive(schedule, now)
            has_ping = schedule.wants_ping(now, 8 / 64)
            schedule.on_ack_sent(now, has_ping)
            pings += [step] if has_ping else []
        assert pings == [8, 16, 24, 32, 40]

    def test_does_not_while_acks_go_with_messages(self):
        schedule = settled()
        receive(schedule, 1.0)
        schedule.on_ack_sent(1.0, True)
        receive(schedule, 1.05)
        assert not schedule.wants_ping(1.05, 0.1)

    def test_is_not_the_answer_to_pings_alone(self):
        schedule = settled()
        receive(schedule, 1.0, PING)
        assert not schedule.wants_ping(1.0, 0.1)
        receive(schedule, 1.0, 0)
        assert not schedule.wants_ping(1.0, 0.1)
        receive(schedule, 1.0)
        assert schedule.wants_ping(1.0, 0.1)

    def test_two_sides_do_not_go_on_for_ever(self):
        """One message, and then whatever each side has to ack, a round trip later."""
        sides, now, sent = (settled(), settled()), 1.0, 0
        demand, receiver = MESSAGE, 0
        while demand and sent < 10:
            receive(sides[receiver], now, demand)
            has_ping = sides[receiver].wants_ping(now, 0.1)
            sides[receiver].on_ack_sent(now, has_ping)
            demand, receiver = PING if has_ping else 0, 1 - receiver
            now, sent = now + 1.0, sent + 1
        assert sent == 2


class TestDelay:
    def test_is_counted_from_the_arrival_of_the_newest_packet(self):
        schedule = settled()
        schedule.on_packet_received(1.0, MESSAGE, False, True)
        schedule.on_packet_received(1.5, MESSAGE, True, False)
        assert schedule.delay(2.0) == 1_000_000

    def test_is_also_that_of_a_packet_that_is_not_acked_itself(self):
        schedule = settled()
        schedule.on_packet_received(1.0, MESSAGE, False, True)
        schedule.on_packet_received(1.5, 0, False, True)
        assert schedule.delay(2.0) == 500_000

    @pytest.mark.parametrize("now", [0.5, -1e300, -math.inf, math.nan])
    def test_is_not_negative_whatever_the_clock_says(self, now):
        schedule = settled()
        schedule.on_packet_received(1.0, MESSAGE, False, True)
        assert schedule.delay(now) == 0

    def test_fits_its_field_whatever_the_clock_says(self):
        assert 0 < settled().delay(math.inf) < 2**62
