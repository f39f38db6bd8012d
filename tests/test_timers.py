"""Timers: a heap of times that are moved forward at once and back lazily."""

from __future__ import annotations

import random

from mpgameserver.timers import Timers

INFINITY = float("inf")


def test_without_items_there_is_no_next_time() -> None:
    timers: Timers[str] = Timers()
    assert timers.next_time() == INFINITY
    assert timers.pop_due(1e9) == []


def test_items_are_popped_once_the_earliest_first() -> None:
    timers: Timers[str] = Timers()
    for item, when in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("d", 4.0)):
        timers.schedule(item, when)
    assert timers.next_time() == 1.0
    assert timers.pop_due(0.9) == []
    assert timers.pop_due(3.0) == ["a", "b", "c"]
    assert timers.pop_due(3.5) == []
    assert timers.next_time() == 4.0


def test_an_earlier_time_counts_and_a_later_one_does_not() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", 2.0)
    timers.schedule("a", 5.0)
    assert timers.next_time() == 2.0
    timers.schedule("a", 1.0)
    assert timers.pop_due(1.0) == ["a"]
    assert timers.pop_due(9.0) == []


def test_an_infinite_time_is_none() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", INFINITY)
    assert (len(timers), timers.pop_due(INFINITY)) == (0, [])


def test_a_cancelled_item_is_not_popped_until_it_is_scheduled_again() -> None:
    timers: Timers[str] = Timers()
    timers.schedule("a", 1.0)
    timers.schedule("b", 2.0)
    timers.cancel("a")
    timers.cancel("never there")
    assert (len(timers), timers.next_time()) == (1, 2.0)
    timers.schedule("a", 1.0)
    assert timers.pop_due(2.0) == ["a", "b"]


def test_items_that_cannot_be_compared_may_share_a_time() -> None:
    timers: Timers[complex] = Timers()
    timers.schedule(1j, 1.0)
    timers.schedule(2j, 1.0)
    assert timers.pop_due(1.0) == [1j, 2j]


def test_it_agrees_with_a_plain_dictionary(seed: int) -> None:
    chance = random.Random(seed)
    timers: Timers[int] = Timers()
    model: dict[int, float] = {}
    now = 0.0
    for _ in range(5000):
        item, when = chance.randrange(20), now + chance.random()
        match chance.randrange(4):
            case 0:
                timers.cancel(item)
                model.pop(item, None)
            case 1:
                now += chance.random() / 10
                due = sorted((t, i) for i, t in model.items() if t <= now)
                assert timers.pop_due(now) == [i for _, i in due]
                for _, i in due:
                    del model[i]
            case _:
                timers.schedule(item, when)
                model[item] = min(when, model.get(item, INFINITY))
        assert timers.next_time() == min(model.values(), default=INFINITY)
        assert len(timers) == len(model)
