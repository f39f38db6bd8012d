"""Which entry leaves a full table that anybody can fill."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from mpgameserver.bounds.eviction import choose_victim


@dataclass(frozen=True)
class Entry:
    name: int
    is_repeated: bool


def victims(entries: list[Entry], seed: int, draws: int = 4000) -> Counter[int]:
    rng = random.Random(seed)
    return Counter(choose_victim(entries, rng).name for _ in range(draws))


@pytest.mark.parametrize("is_repeated", [False, True])
def test_among_equals_any_is_as_likely(is_repeated: bool, seed: int) -> None:
    drawn = victims([Entry(name, is_repeated) for name in range(8)], seed)
    assert len(drawn) == 8
    assert min(drawn.values()) > 400


def test_a_repeated_one_among_many_is_all_but_safe(seed: int) -> None:
    drawn = victims([Entry(name, name == 3) for name in range(32)], seed)
    assert drawn[3] < 4000 / 32 / 8


def test_one_that_is_not_repeated_yet_among_repeated_ones_is_not_the_next_for_sure(
    seed: int,
) -> None:
    drawn = victims([Entry(name, name != 3) for name in range(32)], seed)
    assert drawn[3] < 3 * 4000 / 32
