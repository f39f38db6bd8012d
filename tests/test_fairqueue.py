"""Whose turn it is in a queue of many parties."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mpgameserver.fairqueue import FairQueue


def filled(*items: str, limit: int = 100, limit_per_party: int = 100) -> FairQueue[str]:
    """A queue of items such as "a1", of the party "a"."""
    queue: FairQueue[str] = FairQueue(limit, limit_per_party, random.Random(1))
    for item in items:
        queue.push(item[0], item, item)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(queue.size)]


def test_the_items_of_one_party_come_in_their_order() -> None:
    assert drained(filled("a1", "a2", "a3")) == ["a1", "a2", "a3"]


def test_parties_take_turns() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "c2")
    assert drained(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_one_that_comes_later_waits_for_one_item_of_each_other() -> None:
    queue = filled(*(f"a{i}" for i in range(50)))
    assert queue.pop() == "a0"
    queue.push("b", "b1", "b1")
    assert [queue.pop(), queue.pop()] == ["a1", "b1"]


def test_a_party_cannot_fill_it() -> None:
    queue = filled(limit=4, limit_per_party=2)
    assert [queue.push("a", i, f"a{i}") for i in range(3)] == [None, None, "a2"]
    assert [queue.push(party, 0, party) for party in "bc"] == [None, None]
    assert queue.size == 4


def test_when_it_is_full_the_party_that_has_the_most_gives_way() -> None:
    queue = filled("a1", "a2", "a3", "b1", "b2", limit=5)
    evicted = queue.push("c", "c1", "c1")
    assert evicted in ("a1", "a2", "a3")
    assert not queue.has("a", evicted)
    assert queue.has("c", "c1")
    assert queue.size == 5
    assert queue.push("c", "c2", "c2") in ("a1", "a2", "a3", "b1", "b2")


def test_who_has_as_much_as_anybody_gets_no_more() -> None:
    queue = filled("a1", "a2", "b1", limit=3)
    assert queue.push("a", "a3", "a3") == "a3"
    assert queue.push("b", "b2", "b2") in ("a1", "a2")
    assert queue.push("b", "b3", "b3") == "b3"


def test_a_flood_of_many_parties_does_not_keep_a_newcomer_out(seed: int) -> None:
    """Whenever there is room, the flood takes it first; an item in 20 is taken."""
    chance, got_in = random.Random(seed), 0
    queue: FairQueue[int] = FairQueue(50, 5, chance)
    number = 0
    for attempt in range(400):
        queue.push("newcomer", attempt, -1)
        for _ in range(300):
            number += 1
            queue.push(number, number, number)
            if number % 20 == 0:
                got_in += queue.pop() == -1
            assert queue.size <= 50
    assert 8 <= got_in <= 45  # a fair share is 20


def test_bounds_of_wider_groups_hold_whatever_room_there_is() -> None:
    queue = filled("c1", limit=10, limit_per_party=2)
    pushed = [queue.push(party, party, party, (("group", 2),)) for party in "abdefg"]
    assert pushed == [None, None, None, None, "f", "g"]


def test_one_that_was_removed_leaves_its_place_to_others() -> None:
    queue = filled("a1", "a2", "b1", limit=3, limit_per_party=2)
    assert queue.has("a", "a1")
    queue.remove("a", "a1")
    assert not queue.has("a", "a1")
    assert queue.push("a", "a3", "a3") is None
    queue.remove("b", "b1")
    assert drained(queue) == ["a2", "a3"]
    with pytest.raises(KeyError):
        queue.remove("a", "a1")


def test_nothing_can_be_taken_out_of_an_empty_one() -> None:
    queue = filled("a1", "b1")
    queue.clear()
    assert queue.size == 0
    assert not queue.has("a", "a1")
    with pytest.raises(IndexError):
        queue.pop()


def test_whatever_is_done_it_keeps_count_and_its_bounds(seed: int) -> None:
    chance = random.Random(seed)
    queue: FairQueue[tuple[str, int]] = FairQueue(20, 5, chance)
    inside: Counter[str] = Counter()
    keys: set[tuple[str, int]] = set()
    for number in range(3000):
        party = chance.choice("abcdefg")
        if chance.random() < 0.5:
            item = (party, number)
            refused, largest = queue.push(party, number, item), max(inside.values(), default=0)
            is_refused = inside[party] >= (5 if len(keys) < 20 else largest)
            assert (refused == item) == is_refused
            if not is_refused:
                inside[party] += 1
                keys.add(item)
            if refused not in (None, item):
                assert inside[refused[0]] == largest
                inside[refused[0]] -= 1
                keys.remove(refused)
        elif keys and chance.random() < 0.3:
            party, key = chance.choice(sorted(keys))
            queue.remove(party, key)
            inside[party] -= 1
            keys.remove((party, key))
        elif keys:
            party, key = queue.pop()
            inside[party] -= 1
            keys.remove((party, key))
        assert queue.size == len(keys)
        assert all(queue.has(*each) for each in keys)
    while queue.size:
        keys.remove(queue.pop())
    assert not keys
    assert not queue._parties
    assert not queue._by_count
