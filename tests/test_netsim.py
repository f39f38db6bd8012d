"""The simulated link: each effect does what its setting says, and a seed reproduces it all."""

from __future__ import annotations

import dataclasses
import doctest
import hashlib
import math
import random
from itertools import groupby
from typing import Any

import pytest

from mpgameserver import netsim
from mpgameserver.netsim import Blackout, BurstLoss, Link, LinkConditions, LinkPair, LinkStats

COUNT = 20_000
SEED = 20240607
EVERYTHING = LinkConditions(
    loss=0.05,
    burst_loss=BurstLoss(enter=0.02, leave=0.25, loss=0.9),
    duplicate=0.1,
    latency=0.05,
    jitter=0.02,
    reorder=0.1,
    reorder_delay=0.04,
    rate=60_000.0,
    queue=0.1,
    blackouts=(Blackout(2.0, 0.5),),
    corrupt=0.1,
    truncate=0.1,
    replay=0.1,
    max_datagram=1200,
)


def payload(number: int, size: int = 16) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


def number_of(datagram: bytes) -> int:
    return int.from_bytes(datagram[:4], "big")


def drain(link: Link) -> list[tuple[float, bytes]]:
    """Everything in flight, with the time of each arrival."""
    arrivals: list[tuple[float, bytes]] = []
    while (due := link.next_arrival()) is not None:
        arrivals += [(due, datagram) for datagram in link.receive(due)]
    return arrivals


def run(
    conditions: LinkConditions, seed: int | str = SEED, count: int = COUNT, size: int = 16
) -> tuple[Link, list[tuple[float, bytes]]]:
    """Send `count` numbered datagrams, one every second, and receive all that arrives."""
    link = Link(conditions, seed)
    arrivals: list[tuple[float, bytes]] = []
    for number in range(count):
        link.send(payload(number, size), float(number))
        arrivals += drain(link)
    return link, arrivals


def lost_numbers(conditions: LinkConditions, count: int = COUNT) -> set[int]:
    _, arrivals = run(conditions, count=count)
    return set(range(count)) - {number_of(datagram) for _, datagram in arrivals}


def play(
    conditions: LinkConditions, seed: int | str
) -> tuple[list[tuple[float, bytes]], LinkStats]:
    """Five seconds of datagrams of all sizes, sent at 200 Hz and received at 50 Hz."""
    sizes = random.Random("sizes")
    link = Link(conditions, seed)
    arrivals: list[tuple[float, bytes]] = []
    for number in range(1_000):
        now = number / 200
        link.send(payload(number, sizes.randrange(4, 1_300)), now)
        if number % 4 == 0:
            arrivals += [(now, datagram) for datagram in link.receive(now)]
    return arrivals + drain(link), link.stats


def assert_rate(measured: int, fraction: float, count: int = COUNT) -> None:
    """Within four standard deviations of the binomial distribution."""
    deviation = math.sqrt(count * fraction * (1.0 - fraction))
    assert abs(measured - count * fraction) <= 4 * deviation


# Determinism


def test_the_same_seed_gives_the_same_link() -> None:
    assert play(EVERYTHING, SEED) == play(EVERYTHING, SEED)


def test_another_seed_gives_another_link() -> None:
    assert play(EVERYTHING, SEED) != play(EVERYTHING, SEED + 1)


def test_a_seed_gives_the_same_link_on_every_machine() -> None:
    arrivals, _ = play(EVERYTHING, SEED)
    digest = hashlib.sha256()
    for time, datagram in arrivals:
        digest.update(b"%.9f %d " % (time, len(datagram)) + datagram)
    assert digest.hexdigest() == "1a12822881c8800dd59ce8e1b5cf4f3407a1c509a80036ed5f95b8d7fc2a759f"


@pytest.mark.parametrize(
    "others",
    [
        {"burst_loss": BurstLoss(0.1, 0.2)},
        {"duplicate": 0.5},
        {"latency": 0.2, "jitter": 0.2},
        {"reorder": 0.5, "reorder_delay": 0.1},
        {"corrupt": 0.5, "truncate": 0.5},
        {"replay": 0.5},
        {"blackouts": (Blackout(100.0, 100.0),)},
    ],
    ids=lambda others: next(iter(others)),
)
def test_another_condition_does_not_change_which_datagrams_are_lost(others: dict[str, Any]) -> None:
    def randomly_lost(conditions: LinkConditions) -> set[int]:
        link = Link(conditions, SEED)
        lost = set()
        for number in range(1_000):
            before = link.stats.lost_random
            link.send(payload(number), float(number))
            if link.stats.lost_random > before:
                lost.add(number)
        return lost

    alone = randomly_lost(LinkConditions(loss=0.2))
    in_blackout = set(range(100, 200)) if "blackouts" in others else set()
    assert randomly_lost(LinkConditions(loss=0.2, **others)) == alone - in_blackout


def test_loss_does_not_change_which_datagrams_are_damaged() -> None:
    def damaged(conditions: LinkConditions) -> dict[int, bytes]:
        link = Link(conditions, SEED)
        arrived = {}
        for number in range(2_000):
            link.send(b"intact", float(number))
            for got in link.receive(float(number)):
                if got != b"intact":
                    arrived[number] = got
        return arrived

    alone = damaged(LinkConditions(corrupt=0.1, truncate=0.1))
    lossy = damaged(LinkConditions(corrupt=0.1, truncate=0.1, loss=0.3))
    assert 0 < len(lossy) < len(alone)
    assert lossy.items() <= alone.items()


def test_what_is_lost_at_a_low_rate_is_also_lost_at_a_higher_one() -> None:
    assert lost_numbers(LinkConditions(loss=0.05)) < lost_numbers(LinkConditions(loss=0.1))


def test_the_directions_of_a_pair_differ_and_each_follows_the_seed() -> None:
    pair, again = (LinkPair(LinkConditions(loss=0.5), seed=SEED) for _ in range(2))
    arrived = []
    for link in (pair.up, pair.down, again.up, again.down):
        for number in range(100):
            link.send(payload(number), 0.0)
        arrived.append(link.receive(0.0))
    assert arrived[0] != arrived[1]
    assert arrived[:2] == arrived[2:]


# Nothing is unaccounted for


@pytest.mark.parametrize("seed", range(10))
def test_every_datagram_is_delivered_lost_or_in_flight(seed: int) -> None:
    link = Link(EVERYTHING, seed)
    received = received_bytes = 0
    for number in range(2_000):
        link.send(payload(number, 4 + number % 1_300), number / 100)
        if number % 3 == 0:
            got = link.receive(number / 100)
            received += len(got)
            received_bytes += sum(map(len, got))
        stats = link.stats
        made = stats.sent + stats.duplicated + stats.replayed
        assert made == stats.delivered + stats.lost + link.in_flight
        assert (stats.delivered, stats.delivered_bytes) == (received, received_bytes)
    causes = [field.name for field in dataclasses.fields(stats) if field.name != "lost_cap"]
    assert [name for name in causes if getattr(stats, name) == 0] == []


def test_stats_are_a_snapshot_and_add_up() -> None:
    link = Link(LinkConditions())
    link.send(b"abc", 0.0)
    before = link.stats
    assert link.receive(0.0) == [b"abc"]
    assert (before.sent, before.sent_bytes, before.delivered) == (1, 3, 0)
    both = before + link.stats
    assert (both.sent, both.sent_bytes, both.delivered, both.delivered_bytes) == (2, 6, 1, 3)


def test_the_module_has_no_clock_socket_or_thread() -> None:
    assert not {"time", "socket", "threading", "asyncio"} & vars(netsim).keys()


def test_the_example_in_the_module_works() -> None:
    assert doctest.testmod(netsim) == (0, 5)


# A link that does nothing


def test_a_perfect_link_delivers_everything_at_once_and_in_order() -> None:
    link = Link(LinkConditions())
    sent = [payload(number) for number in range(100)]
    for datagram in sent:
        link.send(datagram, 5.0)
    assert link.next_arrival() == 5.0
    assert link.receive(4.999) == []
    assert link.receive(5.0) == sent
    assert link.next_arrival() is None


def test_the_sender_may_reuse_its_buffer() -> None:
    link = Link(LinkConditions())
    buffer = bytearray(b"first")
    link.send(buffer, 0.0)
    buffer[:] = b"other"
    assert link.receive(0.0) == [b"first"]


def test_more_than_udp_can_carry_is_the_callers_mistake() -> None:
    link = Link(LinkConditions())
    with pytest.raises(ValueError, match="at most 65527 bytes, not 65528"):
        link.send(bytes(65_528), 0.0)
    assert link.stats == LinkStats()
    link.send(bytes(65_527), 0.0)
    assert link.in_flight == 1


def test_an_empty_datagram_survives_every_effect() -> None:
    link = Link(LinkConditions(corrupt=1.0, truncate=1.0, duplicate=1.0, replay=1.0, rate=1.0))
    link.send(b"", 0.0)
    link.send(b"", 0.0)
    assert link.receive(0.0) == [b""] * 5
    assert (link.stats.corrupted, link.stats.truncated, link.stats.replayed) == (0, 0, 1)


# Loss


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.25, 0.9])
def test_loss_takes_its_fraction(fraction: float) -> None:
    link, arrivals = run(LinkConditions(loss=fraction))
    assert_rate(link.stats.lost_random, fraction)
    assert len(arrivals) == COUNT - link.stats.lost_random


def test_full_loss_takes_everything() -> None:
    link, arrivals = run(LinkConditions(loss=1.0), count=1_000)
    assert (link.stats.lost_random, arrivals) == (1_000, [])


@pytest.mark.parametrize(("fraction", "length"), [(0.05, 4.0), (0.2, 10.0), (0.3, 1.5)])
def test_burst_loss_has_the_asked_fraction_and_mean_length(fraction: float, length: float) -> None:
    model = BurstLoss.from_mean(fraction, length)
    assert model.mean_loss == pytest.approx(fraction)
    assert model.mean_length == pytest.approx(length)
    lost = lost_numbers(LinkConditions(burst_loss=model))
    bursts = [
        len(list(group)) for is_lost, group in groupby(range(COUNT), lost.__contains__) if is_lost
    ]
    assert sum(bursts) / COUNT == pytest.approx(fraction, rel=0.15)
    assert sum(bursts) / len(bursts) == pytest.approx(length, rel=0.15)


def test_a_bad_state_that_lets_some_through_loses_less() -> None:
    link, _ = run(LinkConditions(burst_loss=BurstLoss(enter=0.1, leave=0.1, loss=0.5)))
    assert link.stats.lost_burst / COUNT == pytest.approx(0.25, rel=0.1)


def test_bursts_that_must_follow_each_other_at_once_are_possible() -> None:
    assert BurstLoss.from_mean(3 / 4, 3.0).enter == 1.0


# Delay


def test_latency_is_the_time_from_sending_to_arrival() -> None:
    _, arrivals = run(LinkConditions(latency=0.25), count=10)
    assert arrivals == [(number + 0.25, payload(number)) for number in range(10)]


def test_jitter_is_even_around_the_latency() -> None:
    _, arrivals = run(LinkConditions(latency=0.25, jitter=0.125))
    delays = [time - number_of(datagram) for time, datagram in arrivals]
    assert min(delays) == pytest.approx(0.125, abs=0.001)
    assert max(delays) == pytest.approx(0.375, abs=0.001)
    assert sum(delays) / COUNT == pytest.approx(0.25, abs=0.002)
    below = sum(delay < 0.1875 for delay in delays)
    assert_rate(below, 0.25)


def test_no_delay_is_negative() -> None:
    _, arrivals = run(LinkConditions(latency=0.1, jitter=0.5))
    delays = [time - number_of(datagram) for time, datagram in arrivals]
    assert min(delays) == 0.0
    assert_rate(delays.count(0.0), 0.4)


def test_jitter_lets_datagrams_overtake_each_other_and_loses_none() -> None:
    link = Link(LinkConditions(latency=0.5, jitter=0.25), SEED)
    for number in range(1_000):
        link.send(payload(number), number / 100)
    arrivals = drain(link)
    numbers = [number_of(datagram) for _, datagram in arrivals]
    assert arrivals == sorted(arrivals, key=lambda arrival: arrival[0])
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(1_000))


def test_reorder_holds_back_its_fraction_by_its_delay() -> None:
    conditions = LinkConditions(latency=0.25, reorder=0.1, reorder_delay=0.5)
    link, arrivals = run(conditions)
    delays = [time - number_of(datagram) for time, datagram in arrivals]
    assert set(delays) == {0.25, 0.75}
    assert delays.count(0.75) == link.stats.reordered
    assert_rate(link.stats.reordered, 0.1)


def test_those_sent_later_overtake_one_that_is_held_back() -> None:
    # A seed that holds back the first of two datagrams.
    link = Link(LinkConditions(reorder=0.5, reorder_delay=0.1), seed=4)
    link.send(b"first", 0.0)
    link.send(b"second", 0.05)
    assert link.receive(1.0) == [b"second", b"first"]


# Copies


def test_duplicate_delivers_its_fraction_twice() -> None:
    link, arrivals = run(LinkConditions(duplicate=0.1))
    assert_rate(link.stats.duplicated, 0.1)
    numbers = [number_of(datagram) for _, datagram in arrivals]
    assert len(numbers) == COUNT + link.stats.duplicated
    assert set(numbers) == set(range(COUNT))


def test_a_duplicate_has_a_delay_of_its_own() -> None:
    _, arrivals = run(LinkConditions(duplicate=1.0, latency=0.25, jitter=0.125), count=100)
    assert len({time for time, _ in arrivals}) == 200
    assert all(0.125 <= time - number_of(datagram) <= 0.375 for time, datagram in arrivals)


def test_damage_spares_the_duplicate() -> None:
    link = Link(LinkConditions(duplicate=1.0, corrupt=1.0), SEED)
    link.send(b"intact", 0.0)
    damaged, copy = link.receive(0.0)
    assert (damaged != b"intact", copy) == (True, b"intact")


def test_replay_delivers_older_datagrams_that_passed() -> None:
    link, arrivals = run(LinkConditions(replay=0.25, loss=0.5))
    seen: set[int] = set()
    replays = 0
    for time, datagram in arrivals:
        if number_of(datagram) == time:
            seen.add(number_of(datagram))
        else:
            assert number_of(datagram) in seen
            replays += 1
    assert replays == link.stats.replayed
    assert_rate(replays, 0.125)


def test_replay_remembers_an_even_sample_of_all_that_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netsim, "MAX_RECORDED", 256)
    link, _ = run(LinkConditions(replay=0.1))
    replayed: set[int] = set()
    for number in range(COUNT, COUNT + 200):
        link.send(payload(number), float(number))
        replayed |= {number_of(datagram) for _, datagram in drain(link)} - {number}
    before = [number for number in replayed if number < COUNT]
    assert len(before) > 10
    assert min(before) < COUNT / 4
    assert max(before) > COUNT * 3 / 4
    assert len(link._recorder._recorded) == 256


# Damage


def test_corrupt_flips_one_bit_of_its_fraction() -> None:
    link, arrivals = run(LinkConditions(corrupt=0.1), size=8)
    positions = set()
    for time, datagram in arrivals:
        difference = int.from_bytes(datagram, "big") ^ int.from_bytes(payload(int(time), 8), "big")
        if difference:
            assert difference.bit_count() == 1
            positions.add(difference.bit_length())
    assert positions == set(range(1, 65))
    assert_rate(link.stats.corrupted, 0.1)


def test_truncate_cuts_its_fraction_to_any_shorter_length() -> None:
    link = Link(LinkConditions(truncate=0.1), SEED)
    lengths = []
    for number in range(COUNT):
        link.send(b"datagram", float(number))
        (got,) = link.receive(float(number))
        assert b"datagram".startswith(got)
        lengths.append(len(got))
    assert set(lengths) == set(range(9))
    assert COUNT - lengths.count(8) == link.stats.truncated
    assert_rate(link.stats.truncated, 0.1)


# Capacity


def test_rate_spaces_datagrams_by_the_time_that_they_take() -> None:
    link = Link(LinkConditions(rate=1_000.0, latency=0.5, queue=10.0))
    for number in range(4):
        link.send(payload(number, 250), 0.0)
    assert [time for time, _ in drain(link)] == [0.75, 1.0, 1.25, 1.5]


def test_an_idle_link_saves_up_no_capacity() -> None:
    link = Link(LinkConditions(rate=1_000.0, queue=10.0))
    link.send(bytes(250), 0.0)
    for _ in range(2):
        link.send(bytes(250), 100.0)
    assert [time for time, _ in drain(link)] == [0.25, 100.25, 100.5]


def test_a_full_queue_drops_the_newest() -> None:
    link = Link(LinkConditions(rate=1_000.0, queue=0.55))
    for number in range(10):
        link.send(payload(number, 100), 0.0)
    assert [number_of(datagram) for _, datagram in drain(link)] == [0, 1, 2, 3, 4, 5]
    assert link.stats.lost_queue == 4


def test_without_a_queue_only_an_idle_link_takes_a_datagram() -> None:
    link = Link(LinkConditions(rate=1_000.0, queue=0.0))
    for now in (0.0, 0.05, 0.125):
        link.send(bytes(100), now)
    assert (link.in_flight, link.stats.lost_queue) == (2, 1)


def test_an_overloaded_link_carries_its_rate_with_a_full_queue_of_delay() -> None:
    link = Link(LinkConditions(rate=125_000.0, latency=0.02, queue=0.1))
    for number in range(5_000):
        link.send(payload(number, 1_000), number / 250)
    arrivals = drain(link)
    delays = [time - number_of(datagram) / 250 for time, datagram in arrivals]
    assert len(arrivals) == pytest.approx(20 * 125, rel=0.01)
    assert max(delays) <= 0.02 + 0.1 + 0.008 + 1e-6
    assert sorted(delays)[len(delays) // 2] > 0.1


def test_what_is_lost_behind_the_rate_limit_has_used_it() -> None:
    link = Link(LinkConditions(rate=1_000.0, queue=0.95, loss=0.5), SEED)
    for _ in range(20):
        link.send(bytes(100), 0.0)
    assert link.stats.lost_queue == 10
    assert link.stats.lost_random + link.in_flight == 10


def test_larger_datagrams_than_the_path_takes_are_lost() -> None:
    link = Link(LinkConditions(max_datagram=1_200))
    link.send(bytes(1_200), 0.0)
    link.send(bytes(1_201), 0.0)
    assert [len(datagram) for datagram in link.receive(0.0)] == [1_200]
    assert link.stats.lost_too_large == 1


# Blackouts


def test_a_blackout_takes_what_is_sent_in_it_and_nothing_else() -> None:
    conditions = LinkConditions(blackouts=(Blackout(10.0, 5.0), Blackout(20.0, 1.0)))
    assert lost_numbers(conditions, count=30) == {10, 11, 12, 13, 14, 20}


def test_what_is_under_way_arrives_in_a_blackout() -> None:
    link = Link(LinkConditions(latency=0.5, blackouts=(Blackout(1.0, 2.0),)))
    link.send(b"before", 0.9)
    link.send(b"within", 1.0)
    assert drain(link) == [(1.4, b"before")]


def test_a_blackout_may_last_for_ever() -> None:
    conditions = LinkConditions(blackouts=(Blackout(5.0, math.inf),))
    assert lost_numbers(conditions, count=100) == set(range(5, 100))


# Caps


def test_datagrams_under_way_are_capped_until_some_are_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netsim, "MAX_IN_FLIGHT", 10)
    link = Link(LinkConditions(duplicate=1.0))
    for number in range(8):
        link.send(payload(number), float(number))
    assert (link.in_flight, link.stats.lost_cap) == (10, 6)
    assert len(link.receive(0.0)) == 2
    link.send(b"again", 9.0)
    assert (link.in_flight, link.stats.lost_cap) == (10, 6)


def test_bytes_under_way_are_capped_until_some_are_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(netsim, "MAX_IN_FLIGHT_BYTES", 1_000)
    link = Link(LinkConditions())
    for size in (600, 500, 400, 1, 0):
        link.send(bytes(size), 0.0)
    assert [len(datagram) for datagram in link.receive(0.0)] == [600, 400, 0]
    assert link.stats.lost_cap == 2
    link.send(bytes(1_000), 1.0)
    assert link.in_flight == 1


# A pair


def test_a_pair_has_its_own_conditions_for_each_direction() -> None:
    pair = LinkPair(LinkConditions(latency=0.25), LinkConditions(latency=0.5))
    assert pair.next_arrival() is None
    pair.down.send(b"down", 0.0)
    assert pair.next_arrival() == 0.5
    pair.up.send(b"up", 0.0)
    assert pair.next_arrival() == 0.25
    assert (pair.up.receive(1.0), pair.down.receive(1.0)) == ([b"up"], [b"down"])


def test_a_pair_with_one_set_of_conditions_has_them_both_ways() -> None:
    conditions = LinkConditions(latency=0.25)
    pair = LinkPair(conditions)
    assert pair.up.conditions == pair.down.conditions == conditions


# Conditions


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": 5}, r"loss must be a fraction from 0\.0 to 1\.0 \(5 % is 0\.05\), not 5"),
        ({"loss": -0.1}, "loss must be a fraction"),
        ({"duplicate": math.nan}, "duplicate must be a fraction"),
        ({"reorder": 1.1}, "reorder must be a fraction"),
        ({"corrupt": 2}, "corrupt must be a fraction"),
        ({"truncate": 2}, "truncate must be a fraction"),
        ({"replay": 2}, "replay must be a fraction"),
        ({"latency": -1}, "latency must be 0 seconds or more, not -1"),
        ({"latency": math.inf}, "latency must be 0 seconds or more, not inf"),
        ({"jitter": -0.1}, "jitter must be"),
        ({"reorder_delay": -0.1}, "reorder_delay must be"),
        ({"reorder": 0.1}, "reorder needs a reorder_delay"),
        ({"rate": 0}, "rate must be more than 0 bytes per second, not 0"),
        ({"queue": -1}, "queue must be"),
        ({"max_datagram": -1}, "max_datagram must be 0 bytes or more, not -1"),
    ],
)
def test_wrong_conditions_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkConditions(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "5%"},
        {"rate": "1 Mbit/s"},
        {"max_datagram": "1200"},
        {"burst_loss": 0.1},
        {"blackouts": [Blackout(0.0, 1.0)]},
        {"blackouts": ((0.0, 1.0),)},
    ],
    ids=str,
)
def test_conditions_of_another_type_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(settings))} must be"):
        LinkConditions(**settings)


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        (BurstLoss, (1.1, 0.5)),
        (BurstLoss, (0.1, 0.0)),
        (BurstLoss, (0.1, 0.5, -1.0)),
        (BurstLoss.from_mean, (0.1, 0.5)),
        (BurstLoss.from_mean, (0.9, 3.0)),
        (BurstLoss.from_mean, (1.0, 3.0)),
        (Blackout, (math.nan, 1.0)),
        (Blackout, (0.0, -1.0)),
        (Blackout, (0.0, math.nan)),
    ],
)
def test_impossible_bursts_and_blackouts_are_refused(model: Any, arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|at most"):
        model(*arguments)


def test_conditions_cannot_be_changed_under_a_link() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Link(LinkConditions()).conditions.loss = 0.5  # type: ignore[misc]
