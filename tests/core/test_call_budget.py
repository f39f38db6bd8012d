"""The budget for calls of the game's code."""

from __future__ import annotations

import math

from mpgameserver._core.call_budget import BATCH_TIMEOUT, MAX_CALLS_PER_BATCH, CallBudget


class Clock:
    """A clock that each call of the game moves."""

    def __init__(self) -> None:
        self.now = 10.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


def calls_of(cost: float, clock: Clock, until: float = math.inf) -> int:
    """Return how many calls of that cost fit in a batch."""
    budget, calls = CallBudget(), 0
    budget.clock = clock
    budget.begin(clock.now, until)
    while budget.left:
        clock.now += cost
        budget.count_call()
        calls += 1
    return calls


def test_a_go_has_room_for_so_many_calls() -> None:
    budget = CallBudget()
    assert budget.left == 0
    budget.begin(0.0, math.inf)
    for left in reversed(range(MAX_CALLS_PER_BATCH)):
        budget.count_call()
        assert budget.left == left


def test_a_batch_is_over_when_its_time_is() -> None:
    assert 200 <= calls_of(BATCH_TIMEOUT / 200, Clock()) <= 204


def test_one_slow_call_ends_it() -> None:
    assert calls_of(1.0, Clock()) == 1


def test_a_go_ends_when_something_else_is_due() -> None:
    clock = Clock()
    assert calls_of(0.0003, clock, clock.now + 0.001) == 4


def test_the_clock_is_read_after_each_slow_call_and_every_few_fast_ones() -> None:
    clock = Clock()
    fast = calls_of(1e-6, clock)
    assert clock.reads <= fast / 4 + 2
    clock = Clock()
    slow = calls_of(0.0005, clock)
    assert clock.reads == slow


def test_the_next_go_has_room_again() -> None:
    clock, budget = Clock(), CallBudget()
    budget.clock = clock
    budget.begin(clock.now, math.inf)
    clock.now += 1.0
    budget.count_call()
    assert budget.left == 0
    budget.begin(clock.now, math.inf)
    assert budget.left == MAX_CALLS_PER_BATCH


def test_what_else_takes_time_ends_it_too() -> None:
    clock, budget = Clock(), CallBudget()
    budget.clock = clock
    budget.begin(clock.now, math.inf)
    assert budget.read() == clock.now
    assert budget.left == MAX_CALLS_PER_BATCH
    clock.now += BATCH_TIMEOUT
    assert budget.read() == clock.now
    assert budget.left == 0
