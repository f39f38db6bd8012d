"""Limits on what sessions hold together: of a host, of its networks and in all."""

from __future__ import annotations

import gc

import pytest

from mpgameserver._core.budget import GUARANTEED, Budget, Share


def shares(*limits: int, guaranteed: int = 0) -> list[Share]:
    """One share for each host, whose limits are given, within 1,000 bytes in all."""
    whole = Budget(1000)
    result = []
    for limit in limits:
        share = Share(guaranteed)
        share.join(Budget(limit, whole))
        result.append(share)
    return result


def test_alone_it_has_no_bound() -> None:
    share = Share()
    share.add(1 << 40)
    assert share.held == 1 << 40
    assert share.admits(1 << 40)


def test_the_budget_of_its_host_bounds_it() -> None:
    [share] = shares(100)
    assert share.admits(100)
    assert not share.admits(101)
    share.add(60)
    assert share.admits(40)
    assert not share.admits(41)


def test_that_of_all_bounds_it_too() -> None:
    one, other = shares(900, 900)
    one.add(900)
    assert other.admits(100)
    assert not other.admits(101)


def test_what_is_given_back_can_be_had_by_others() -> None:
    one, other = shares(900, 900)
    one.add(900)
    one.add(-900)
    assert other.admits(900)


def test_it_has_what_it_is_guaranteed_whatever_the_others_hold() -> None:
    one, other = shares(1000, 1000, guaranteed=50)
    one.add(1000)
    assert other.admits(50)
    assert not other.admits(51)
    other.add(50)
    assert not other.admits(1)


def test_what_it_held_before_it_joined_counts() -> None:
    whole, share = Budget(1000), Share()
    host = Budget(100, whole)
    share.add(30)
    share.join(host)
    assert (share.held, host.held, whole.held) == (30, 30, 30)
    share.join(Budget(100, whole))
    assert (share.held, host.held, whole.held) == (30, 0, 30)


def test_the_guarantee_of_all_the_sessions_of_a_server_is_no_more_than_one_kind_may_hold() -> None:
    assert GUARANTEED * 8192 <= 128 << 20


def test_each_of_the_networks_that_a_host_is_in_bounds_it() -> None:
    whole = Budget(1000)
    site = Budget(400, whole)
    one, other = Share(), Share()
    one.join(Budget(300, Budget(350, site)))
    other.join(Budget(300, Budget(350, site)))
    one.add(300)
    assert not one.admits(1)
    assert other.admits(100)
    assert not other.admits(101)
    assert (site.held, whole.held) == (300, 300)


def test_budgets_live_as_long_as_what_is_charged_to_them() -> None:
    share = Share()
    share.join(Budget(100, Budget(90, Budget(80))))
    gc.collect()
    share.add(60)
    assert share.admits(20)
    assert not share.admits(21)


@pytest.mark.parametrize("size", [2**62, -(2**62)])
def test_a_size_that_could_overflow_is_refused(size: int) -> None:
    share = Share()
    for charge in (share.add, share.admits):
        with pytest.raises(ValueError, match="at most"):
            charge(size)
    assert share.held == 0
