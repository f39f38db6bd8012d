"""Hold the star: others drawn smoothly in the past, and the own player ahead of the server."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star.interpolation import DELAY, Timeline
from star.prediction import Prediction
from star.protocol import TICKS_PER_SNAPSHOT, Moves, Snapshot
from star.rules import STEP, TICK, Place, moved

SECOND = round(1 / TICK)
INTERVAL = TICKS_PER_SNAPSHOT * TICK
ON_ITS_WAY = 0.03
"""Seconds that a snapshot takes."""
EAST = (1, 0)


def snapshot(tick: int, x: float | None = None) -> Snapshot:
    """Of player 1 and the star, whose x is the tick if nothing else is said."""
    place = (float(tick if x is None else x), 0.0)
    return Snapshot(tick, time_of(tick), 0, 0, place, {1: place})


def time_of(tick: int) -> float:
    """By the server's clock."""
    return 70.0 + tick * TICK


def arrival(tick: int) -> float:
    """By the client's clock."""
    return 1000.0 + tick * TICK + ON_ITS_WAY


def new_timeline() -> Timeline:
    """One that knows the server's clock."""
    timeline = Timeline()
    timeline.set_clock(arrival(0), time_of(0) + ON_ITS_WAY, ON_ITS_WAY)
    return timeline


def x_of(timeline: Timeline, now: float) -> float:
    seen = timeline.seen(now)
    assert seen is not None
    assert seen.star == seen.places[1]
    return seen.places[1][0]


class TestTimeline:
    def test_shows_nothing_before_the_first_snapshot(self) -> None:
        timeline = Timeline()
        assert timeline.seen(1.0) is None
        assert timeline.newest is None

    def test_shows_what_was_a_moment_ago_between_two_snapshots(self) -> None:
        timeline = new_timeline()
        for tick in range(0, SECOND, 3):
            timeline.add(snapshot(tick))
        for part in (0.0, 0.3, 0.5, 1.0):
            wanted = 42 + 3 * part
            assert x_of(timeline, arrival(42) + part * INTERVAL + DELAY) == pytest.approx(wanted)

    def test_does_without_a_lost_snapshot(self) -> None:
        timeline = new_timeline()
        for tick in (0, 3, 9):
            timeline.add(snapshot(tick))
        assert x_of(timeline, arrival(6) + DELAY) == pytest.approx(6)

    def test_takes_snapshots_in_any_order(self) -> None:
        timeline = new_timeline()
        timeline.add(snapshot(0))
        for tick in (9, 3, 6):
            timeline.add(snapshot(tick, x=tick * tick))
        assert timeline.newest == snapshot(9, x=81)
        for tick in (3, 6, 9):
            assert x_of(timeline, arrival(tick) + DELAY) == pytest.approx(tick * tick)

    def test_stops_at_the_newest_where_nothing_comes(self) -> None:
        timeline = new_timeline()
        for tick in (0, 3):
            timeline.add(snapshot(tick))
        assert x_of(timeline, arrival(SECOND)) == 3.0

    def test_what_comes_later_than_it_was_to_be_drawn_changes_nothing(self) -> None:
        timeline = new_timeline()
        for tick in (0, 3, 9, 12):
            timeline.add(snapshot(tick))
        now = arrival(10) + DELAY
        before = x_of(timeline, now)
        timeline.add(snapshot(6, x=-500))
        assert x_of(timeline, now) == before

    def test_who_has_just_come_appears_and_who_has_left_vanishes(self) -> None:
        timeline = new_timeline()
        timeline.add(Snapshot(0, time_of(0), 0, 0, (0.0, 0.0), {1: (1.0, 1.0)}))
        timeline.add(Snapshot(3, time_of(3), 0, 0, (0.0, 0.0), {2: (2.0, 2.0)}))
        between = timeline.seen(arrival(1) + DELAY)
        after = timeline.seen(arrival(4) + DELAY)
        assert between is not None
        assert after is not None
        assert (set(between.places), set(after.places)) == ({1}, {2})

    @given(seed=st.integers(0, 1000), jitter=st.floats(0, 0.2), loss=st.floats(0, 0.5))
    def test_what_moves_evenly_is_never_drawn_moving_back(
        self, seed: int, jitter: float, loss: float
    ) -> None:
        rng, timeline = random.Random(seed), new_timeline()
        arrivals = sorted(
            (arrival(tick) + rng.uniform(0, jitter), tick)
            for tick in range(0, 4 * SECOND, TICKS_PER_SNAPSHOT)
            if rng.random() >= loss
        )
        drawn, now = [], arrival(0)
        while now < arrival(4 * SECOND):
            while arrivals and arrivals[0][0] <= now:
                _, tick = arrivals.pop(0)
                timeline.add(snapshot(tick))
            if timeline.newest is not None:
                drawn.append(x_of(timeline, now))
            now += TICK
        assert drawn == sorted(drawn)

    def test_shows_nothing_before_the_servers_clock_is_known(self) -> None:
        timeline = Timeline()
        timeline.add(snapshot(0))
        assert timeline.seen(arrival(10)) is None

    def test_a_clock_that_is_put_right_moves_nothing_back(self) -> None:
        timeline = new_timeline()
        for tick in range(0, SECOND, 3):
            timeline.add(snapshot(tick))
        now = arrival(20) + DELAY
        before = x_of(timeline, now)
        timeline.set_clock(now, time_of(20) + DELAY, ON_ITS_WAY)  # it was ahead by that
        assert x_of(timeline, now + ON_ITS_WAY / 2) == before
        assert x_of(timeline, now + 2 * ON_ITS_WAY) > before


HAIR = 1e-9
"""Seconds by which a frame comes later than its step is due, so that rounding decides nothing."""
START: Place = (100.0, 100.0)


def started() -> Prediction:
    prediction = Prediction()
    prediction.correct(1, START, 0)
    return prediction


def run(prediction: Prediction, steps: int, direction: tuple[int, int]) -> float:
    """Make so many steps, as the game's loop does; when the last one shows in full."""
    for number in range(steps):
        prediction.advance(10.0 + number * (TICK + HAIR), direction)
    return 10.0 + steps * TICK


class TestPrediction:
    def test_there_is_no_place_and_nothing_to_send_before_the_first_snapshot(self) -> None:
        prediction = Prediction()
        now = run(prediction, 10, EAST)
        assert prediction.place(now) is None
        assert prediction.moves() is None

    def test_a_step_shows_at_once_without_the_server(self) -> None:
        prediction = started()
        now = run(prediction, 10, EAST)
        assert prediction.place(now) == pytest.approx((START[0] + 10 * STEP, START[1]))

    @pytest.mark.parametrize("frames_per_second", [20, 59, 60, 75, 144])
    def test_the_speed_is_the_same_at_any_number_of_frames(self, frames_per_second: int) -> None:
        prediction = started()
        for frame in range(frames_per_second + 1):
            prediction.advance(10 + frame / frames_per_second, EAST)
        place = prediction.place(11.0)
        assert place is not None
        assert place[0] == pytest.approx(START[0] + SECOND * STEP, abs=1e-6)

    def test_time_in_which_there_were_no_frames_is_left_out(self) -> None:
        prediction = started()
        prediction.advance(10.0, EAST)
        prediction.advance(60.0, EAST)
        assert prediction.place(60.0 + TICK) == pytest.approx((START[0] + 2 * STEP, START[1]))

    def test_all_steps_are_sent_until_the_server_has_them(self) -> None:
        prediction = started()
        run(prediction, 5, EAST)
        assert prediction.moves() == Moves(1, (EAST,) * 5)
        prediction.correct(4, (START[0] + 3 * STEP, START[1]), newest_step=3)
        assert prediction.moves() == Moves(4, (EAST,) * 2)

    def test_a_server_that_agrees_changes_nothing(self) -> None:
        prediction = started()
        now = run(prediction, 8, EAST)
        before = prediction.place(now)
        prediction.correct(9, (START[0] + 6 * STEP, START[1]), newest_step=6)
        assert prediction.place(now) == before

    def test_a_server_that_disagrees_is_right_and_later_steps_are_made_from_there(self) -> None:
        prediction = started()
        now = run(prediction, 8, EAST)
        prediction.correct(9, (300.0, 50.0), newest_step=6)
        wanted = moved(moved((300.0, 50.0), EAST), EAST)
        assert prediction.place(now) == pytest.approx(wanted)

    def test_a_snapshot_that_comes_late_is_ignored(self) -> None:
        prediction = started()
        now = run(prediction, 8, EAST)
        prediction.correct(12, (START[0] + 8 * STEP, START[1]), newest_step=8)
        prediction.correct(9, (300.0, 50.0), newest_step=6)
        assert prediction.place(now) == pytest.approx((START[0] + 8 * STEP, START[1]))
