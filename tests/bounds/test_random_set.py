"""A bounded set that forgets a random member when it is full."""

from __future__ import annotations

import random
from collections import Counter

from mpgameserver.bounds.random_set import RandomSet


def test_it_holds_what_a_set_holds_until_it_is_full(seed: int) -> None:
    chance = random.Random(seed)
    ours, model = RandomSet(1000, chance), set()
    for _ in range(5000):
        member = chance.randrange(300)
        if chance.random() < 0.5:
            ours.add(member)
            model.add(member)
        else:
            ours.discard(member)
            model.discard(member)
        assert len(ours) == len(model)
        assert (member in ours) == (member in model)
    assert all((member in ours) == (member in model) for member in range(300))


def test_a_full_one_forgets_any_member_as_likely_as_another(seed: int) -> None:
    chance, forgotten = random.Random(seed), Counter[int]()
    for _ in range(2000):
        full = RandomSet(4, chance)
        for member in range(5):
            full.add(member)
        assert len(full) == 4
        forgotten.update(member for member in range(5) if member not in full)
    assert set(forgotten) == {0, 1, 2, 3}
    assert min(forgotten.values()) > 400


def test_a_member_that_is_added_again_forgets_nothing() -> None:
    full = RandomSet(2, random.Random(0))
    for member in (1, 2, 1, 2):
        full.add(member)
    assert 1 in full
    assert 2 in full


def test_nothing_is_left_when_it_is_cleared() -> None:
    some = RandomSet(2, random.Random(0))
    some.add(1)
    some.clear()
    assert len(some) == 0
    assert 1 not in some
