"""Turns of the parties in a fair queue."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mpgameserver.server.fair_queue import FairQueue


def filled(*items: str, limit: int = 100, limit_per_party: int = 100) -> FairQueue[str]:
    """A queue of items such as "a1", of the party "a"."""
    queue: FairQueue[str] = FairQueue(limit, limit_per_party)
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
    assert [queue.push("a", i, f"a{i}") for i in range(3)] == [True, True, False]
    assert [queue.push(party, 0, party) for party in "bc"] == [True, True]
    assert queue.size == 4


def test_when_it_is_full_the_newest_item_of_who_has_the_most_gives_way() -> None:
    evicted: list[str] = []
    queue: FairQueue[str] = FairQueue(6, 4, evicted.append)
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        assert queue.push(item[0], item, item)
    assert queue.push("d", "d1", "d1")
    assert evicted == ["a3"]
    assert not queue.push("b", "b3", "b3")  # it would have more than any other then
    assert queue.push("e", "e1", "e1")
    assert queue.push("f", "f1", "f1")
    assert sorted(evicted) == ["a2", "a3", "b2"]
    assert not queue.push("g", "g1", "g1")  # each has one, and keeps it
    assert drained(queue) == ["a1", "b1", "c1", "d1", "e1", "f1"]


def test_who_has_the_most_is_told_by_the_widest_group() -> None:
    evicted: list[str] = []
    queue: FairQueue[str] = FairQueue(4, 2, evicted.append)
    for party in "abcd":
        assert queue.push(party, 0, party, (("narrow", 4), ("wide", 4)))
    assert queue.push("e", 0, "e")
    assert queue.push("f", 0, "f", (("other", 2), ("another", 4)))
    assert evicted == ["d", "c"]
    assert not queue.push("g", 0, "g", (("third", 2), ("wide", 4)))


def test_one_that_was_removed_leaves_its_place_to_others() -> None:
    queue = filled("a1", "a2", "b1", limit=3, limit_per_party=2)
    assert queue.has("a", "a1")
    queue.remove("a", "a1")
    assert not queue.has("a", "a1")
    assert queue.push("a", "a3", "a3")
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
    inside: Counter[str] = Counter()
    keys: set[tuple[str, int]] = set()

    def forget(place: tuple[str, int]) -> None:
        assert inside[place[0]] == max(inside.values())
        assert place[1] == max(key for party, key in keys if party == place[0])
        inside[place[0]] -= 1
        keys.remove(place)

    queue: FairQueue[tuple[str, int]] = FairQueue(20, 5, forget)
    for number in range(3000):
        party = chance.choice("abcdefg")
        if chance.random() < 0.5:
            most = max(inside.values(), default=0)
            room = inside[party] < 5 and (len(keys) < 20 or inside[party] + 1 < most)
            assert queue.push(party, number, (party, number)) == room
            if room:
                inside[party] += 1
                keys.add((party, number))
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
    assert not queue._widest._places
