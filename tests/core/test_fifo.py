"""The queue: a ring of items, against a deque."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpgameserver._core.fifo import Fifo


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 70)), max_size=40))
def test_it_is_first_in_first_out(calls):
    fifo, model, number = Fifo(), deque(), 0
    for push, times in calls:
        for _ in range(times):
            if push:
                number += 1
                fifo.push(number)
                model.append(number)
            elif model:
                assert fifo.take() == model.popleft()
            else:
                with pytest.raises(IndexError):
                    fifo.take()
            assert len(fifo) == len(model)


def test_an_empty_one_has_nothing_to_take_and_can_still_be_used():
    fifo = Fifo()
    for _ in range(100):
        with pytest.raises(IndexError):
            fifo.take()
        fifo.push("item")
        assert fifo.take() == "item"
    assert len(fifo) == 0


def test_what_was_taken_is_let_go_of_at_once():
    class Item:
        pass

    fifo = Fifo()
    items = [Item() for _ in range(5)]
    first = weakref.ref(items[0])
    for item in items:
        fifo.push(item)
    del items, item
    fifo.take()
    gc.collect()
    assert first() is None


def test_a_queue_that_never_empties_does_not_grow():
    fifo = Fifo()
    item = object()
    for _ in range(10):
        fifo.push(item)
    before = sys.getrefcount(item)
    for _ in range(100_000):
        fifo.push(item)
        fifo.take()
    assert len(fifo) == 10
    assert sys.getrefcount(item) == before
    assert fifo.room == 16


def test_all_can_be_taken_at_once_in_their_order():
    fifo = Fifo()
    for number in range(10):
        fifo.push(number)
    assert [fifo.take() for _ in range(3)] == [0, 1, 2]
    for number in range(10, 14):
        fifo.push(number)
    assert fifo.take_all() == list(range(3, 14))
    assert (len(fifo), fifo.take_all()) == (0, [])


def test_the_room_of_a_burst_is_given_back():
    fifo = Fifo()
    for number in range(10_000):
        fifo.push(number)
    assert fifo.room == 16_384
    for number in range(10_000):
        assert fifo.take() == number
    assert fifo.room == 0
    fifo.push("item")
    assert fifo.take() == "item"


def test_what_waits_is_let_go_of_with_the_queue():
    class Item:
        pass

    fifo, item = Fifo(), Item()
    gone = weakref.ref(item)
    fifo.push(item)
    del item
    assert gone() is not None
    del fifo
    assert gone() is None
