"""The limit on messages accepted from one peer per second."""

from __future__ import annotations

from mpgameserver._core.message_rate import MessageRate


def taken(rate: float, per_packet: int, times: list[float]) -> int:
    """Return how many messages are accepted of packets that arrive at those times."""
    limit, count = MessageRate(), 0
    limit.limit(rate)
    for now in times:
        if limit.admits(now):
            limit.take(per_packet, now)
            count += per_packet
    return count


def test_without_a_limit_all_are_taken() -> None:
    limit = MessageRate()
    for _ in range(1000):
        assert limit.admits(5.0)
        limit.take(255, 5.0)


def test_those_of_a_second_may_come_at_once() -> None:
    assert taken(128, 16, [7.0] * 50) == 144


def test_over_longer_times_it_is_the_rate() -> None:
    times = [5.0 + i / 1000 for i in range(10_000)]
    assert 1000 <= taken(100, 1, times) <= 1102


def test_what_keeps_to_the_rate_is_never_refused() -> None:
    assert taken(100, 1, [5.0 + i / 100 for i in range(5000)]) == 5000


def test_time_in_which_nothing_comes_is_not_saved_up() -> None:
    assert taken(128, 16, [0.0, *[1000.0] * 50]) == 16 + 144
