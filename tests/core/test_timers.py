"""Timers: a heap of times that are moved forward at once and back lazily."""

from __future__ import annotations

import gc
import random
import weakref

from mpgameserver._core.timers import Timed, Timers

INFINITY = float("inf")


class Named(Timed):
    def __init__(self, name: str = "") -> None:
        self.name = name


def popped(timers: Timers, now: float) -> list[Timed]:
    """All that are due, in the order in which they come."""
    items = []
    while (item := timers.pop_due(now)) is not None:
        items.append(item)
    return items


def test_without_items_there_is_no_next_time() -> None:
    timers = Timers()
    assert timers.next_time() == INFINITY
    assert timers.pop_due(1e9) is None


def test_items_are_popped_once_the_earliest_first() -> None:
    timers = Timers()
    a, b, c, d = (Named(name) for name in "abcd")
    for item, when in ((c, 3.0), (a, 1.0), (b, 2.0), (d, 4.0)):
        timers.schedule(item, when)
    assert timers.next_time() == 1.0
    assert popped(timers, 0.9) == []
    assert popped(timers, 3.0) == [a, b, c]
    assert popped(timers, 3.5) == []
    assert timers.next_time() == 4.0


def test_an_earlier_time_counts_and_a_later_one_does_not() -> None:
    timers, item = Timers(), Timed()
    timers.schedule(item, 2.0)
    timers.schedule(item, 5.0)
    assert timers.next_time() == item.due == 2.0
    timers.schedule(item, 1.0)
    assert popped(timers, 1.0) == [item]
    assert popped(timers, 9.0) == []


def test_an_infinite_time_is_none() -> None:
    timers, item = Timers(), Timed()
    timers.schedule(item, INFINITY)
    assert (len(timers), timers.pop_due(INFINITY), item.due) == (0, None, INFINITY)


def test_a_cancelled_item_is_not_popped_until_it_is_scheduled_again() -> None:
    timers, a, b = Timers(), Timed(), Timed()
    timers.schedule(a, 1.0)
    timers.schedule(b, 2.0)
    timers.cancel(a)
    timers.cancel(Timed())
    assert (len(timers), timers.next_time()) == (1, 2.0)
    timers.schedule(a, 1.0)
    assert popped(timers, 2.0) == [a, b]


def test_items_that_share_a_time_come_in_the_order_of_their_scheduling() -> None:
    timers, items = Timers(), [Timed() for _ in range(100)]
    for item in items:
        timers.schedule(item, 1.0)
    assert popped(timers, 1.0) == items


def test_items_and_timers_that_hold_each_other_are_collected() -> None:
    timers, item = Timers(), Named()
    item.name = timers  # type: ignore[assignment]
    timers.schedule(item, 1.0)
    gone = weakref.ref(item)
    del timers, item
    gc.collect()
    assert gone() is None


def test_it_agrees_with_a_plain_dictionary(seed: int) -> None:
    chance = random.Random(seed)
    timers, items = Timers(), [Timed() for _ in range(20)]
    model: dict[int, float] = {}
    now = 0.0
    for _ in range(5000):
        number, when = chance.randrange(20), now + chance.random()
        match chance.randrange(4):
            case 0:
                timers.cancel(items[number])
                model.pop(number, None)
            case 1:
                now += chance.random() / 10
                due = sorted((t, i) for i, t in model.items() if t <= now)
                assert popped(timers, now) == [items[i] for _, i in due]
                for _, i in due:
                    del model[i]
            case _:
                timers.schedule(items[number], when)
                model[number] = min(when, model.get(number, INFINITY))
        assert timers.next_time() == min(model.values(), default=INFINITY)
        assert len(timers) == len(model)
        assert all(item.due == model.get(i, INFINITY) for i, item in enumerate(items))
