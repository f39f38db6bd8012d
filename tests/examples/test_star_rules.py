"""Hold the star: what players may do, and what it gets them."""

from __future__ import annotations

import math

import pytest

from star.rules import (
    HEIGHT,
    MAX_STEPS_SAVED,
    RADIUS,
    SAFE_TICKS,
    STEP,
    TICKS_PER_POINT,
    WIDTH,
    Arena,
    Place,
    moved,
)

FAR = (RADIUS, RADIUS)


def arena_with(*places: Place) -> Arena:
    """A game of players at these places, numbered from 1."""
    arena = Arena()
    for number, place in enumerate(places, 1):
        arena.join(number, f"player {number}")
        arena.players[number].place = place
    return arena


def advance(arena: Arena, ticks: int) -> int:
    """Let ticks pass; how often the scores have changed."""
    return sum(arena.advance() for _ in range(ticks))


class TestMoving:
    @pytest.mark.parametrize("direction", [(1, 0), (0, -1), (1, 1), (-1, 1)])
    def test_a_step_is_equally_long_in_all_directions(self, direction: tuple[int, int]) -> None:
        middle = (WIDTH / 2, HEIGHT / 2)
        assert math.dist(middle, moved(middle, direction)) == pytest.approx(STEP)

    def test_no_direction_is_no_step(self) -> None:
        assert moved((50.0, 60.0), (0, 0)) == (50.0, 60.0)

    def test_nobody_leaves_the_field(self) -> None:
        upper, lower = (RADIUS, RADIUS), (WIDTH - RADIUS, HEIGHT - RADIUS)
        assert moved(upper, (-1, -1)) == upper
        assert moved(lower, (1, 1)) == lower

    def test_no_more_steps_are_made_than_there_were_ticks(self) -> None:
        arena = arena_with(FAR)
        advance(arena, 5)
        for _ in range(20):
            arena.step(1, (1, 0))
        assert arena.players[1].place == (RADIUS + 5 * STEP, RADIUS)

    def test_steps_that_were_not_made_are_saved_for_a_quarter_of_a_second_only(self) -> None:
        arena = arena_with(FAR)
        advance(arena, 600)
        for _ in range(100):
            arena.step(1, (1, 0))
        assert arena.players[1].place == (RADIUS + MAX_STEPS_SAVED * STEP, RADIUS)


class TestTheStar:
    def test_is_nobodys_at_first(self) -> None:
        arena = arena_with(FAR)
        assert advance(arena, 300) == 0
        assert (arena.holder, arena.players[1].points) == (0, 0)

    def test_goes_to_who_touches_it_and_along_with_them(self) -> None:
        arena = arena_with(FAR, (WIDTH / 2 - 2 * RADIUS + 1, HEIGHT / 2))
        advance(arena, 1)
        assert arena.holder == 2
        arena.step(2, (0, 1))
        advance(arena, 1)
        assert arena.star == arena.players[2].place

    def test_goes_to_the_nearest_of_two(self) -> None:
        arena = arena_with((WIDTH / 2 - 20, HEIGHT / 2), (WIDTH / 2 + 10, HEIGHT / 2))
        advance(arena, 1)
        assert arena.holder == 2

    def test_is_taken_by_touching_its_holder_who_is_safe_for_a_while(self) -> None:
        arena = arena_with((WIDTH / 2, HEIGHT / 2), FAR)
        advance(arena, 1)
        arena.players[2].place = (WIDTH / 2 + RADIUS, HEIGHT / 2)
        advance(arena, SAFE_TICKS - 1)
        assert arena.holder == 1
        advance(arena, 1)
        assert arena.holder == 2

    def test_brings_a_point_for_each_second(self) -> None:
        arena = arena_with((WIDTH / 2, HEIGHT / 2))
        assert advance(arena, TICKS_PER_POINT - 1) == 0
        assert advance(arena, 1) == 1
        assert advance(arena, 2 * TICKS_PER_POINT) == 2
        assert arena.players[1].points == 3

    def test_stays_where_its_holder_has_left(self) -> None:
        arena = arena_with((WIDTH / 2 + 5, HEIGHT / 2))
        advance(arena, 1)
        arena.leave(1)
        advance(arena, 100)
        assert (arena.holder, arena.star) == (0, (WIDTH / 2 + 5, HEIGHT / 2))


def test_players_begin_apart_and_away_from_the_star() -> None:
    arena = Arena()
    for number in range(1, 5):
        arena.join(number, "")
    places = [player.place for player in arena.players.values()]
    assert len(set(places)) == 4
    assert min(math.dist(place, arena.star) for place in places) > 100
