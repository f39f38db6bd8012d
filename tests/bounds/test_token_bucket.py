"""The rate and the burst that a token bucket allows."""

from __future__ import annotations

import random

import pytest

from mpgameserver.bounds.token_bucket import TokenBucket


def taken(bucket: TokenBucket, now: float) -> int:
    count = 0
    while bucket.take(now):
        count += 1
    return count


def test_it_is_full_at_first_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=4)
    assert [taken(bucket, now) for now in (100.0, 100.0, 100.1, 100.3)] == [4, 0, 1, 2]


def test_it_holds_no_more_than_the_burst_however_long_nothing_was_taken() -> None:
    bucket = TokenBucket(rate=10, burst=4)
    bucket.take(0.0)
    assert taken(bucket, 1e6) == 4


def test_several_tokens_are_taken_all_or_none() -> None:
    bucket = TokenBucket(rate=10, burst=4)
    assert [bucket.take(0.0, 3), bucket.take(0.0, 2), bucket.take(0.0, 1)] == [True, False, True]
    assert [bucket.take(0.1, 2), bucket.take(0.2, 2)] == [False, True]


def test_parts_of_a_token_are_kept() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert [bucket.take(now) for now in (0.0, 0.5, 0.75, 1.0)] == [True, False, False, True]


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert [bucket.take(now) for now in (10.0, 5.0, 10.5, 11.0)] == [True, False, False, True]


def test_it_tells_when_there_is_a_token() -> None:
    bucket = TokenBucket(rate=4, burst=2)
    assert bucket.next_time() <= 100.0
    assert taken(bucket, 100.0) == 2
    assert bucket.next_time() == pytest.approx(100.25)
    assert not bucket.take(100.2)
    assert bucket.take(bucket.next_time())


def test_at_the_time_that_it_tells_there_is_one_however_that_is_rounded(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        bucket = TokenBucket(chance.uniform(0.1, 5000), 1)
        now = chance.uniform(0, 1e7)
        for _ in range(20):
            assert bucket.take(now)
            assert not bucket.take(now)
            now = bucket.next_time()


def test_its_rate_and_its_burst_can_be_changed() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    bucket.take(0.0)
    bucket.rate, bucket.burst = 100, 50
    assert taken(bucket, 0.1) == 10
    assert taken(bucket, 10.0) == 50
