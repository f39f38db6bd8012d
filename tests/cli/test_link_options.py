"""The options of a link, in the user's units, as the conditions of each direction."""

from __future__ import annotations

import argparse
import itertools

import pytest

from mpgameserver.cli.link_options import add_link_options, link_conditions
from mpgameserver.netsim import Blackout, BurstLoss, LinkConditions


def conditions(*arguments: str) -> tuple[LinkConditions, LinkConditions]:
    """The conditions of both directions that the options ask for."""
    parser = argparse.ArgumentParser()
    add_link_options(parser)
    parsed = parser.parse_args(arguments)
    return link_conditions(parsed, "up"), link_conditions(parsed, "down")


def test_without_options_the_link_does_nothing():
    idle = LinkConditions(reorder_delay=0.03)
    assert conditions() == (idle, idle)


@pytest.mark.parametrize(
    ("option", "given", "field", "value"),
    [
        ("loss", "2.5", "loss", 0.025),
        ("burst-loss", "20", "burst_loss", BurstLoss.from_mean(0.2, 4.0)),
        ("duplicate", "10", "duplicate", 0.1),
        ("latency", "50", "latency", 0.05),
        ("jitter", "5", "jitter", 0.005),
        ("reorder", "1", "reorder", 0.01),
        ("reorder-delay", "40", "reorder_delay", 0.04),
        ("rate", "125", "rate", 125_000.0),
        ("queue", "200", "queue", 0.2),
        ("blackout", "30:2.5", "blackouts", (Blackout(30.0, 2.5),)),
        ("corrupt", "3", "corrupt", 0.03),
        ("truncate", "4", "truncate", 0.04),
        ("replay", "100", "replay", 1.0),
        ("max-datagram", "548", "max_datagram", 548),
    ],
)
def test_each_effect_is_for_both_directions_or_for_one(option, given, field, value):
    nothing = getattr(conditions()[0], field)
    for prefix, expected in (
        ("", (value, value)),
        ("up-", (value, nothing)),
        ("down-", (nothing, value)),
    ):
        up, down = conditions(f"--{prefix}{option}", given)
        assert (getattr(up, field), getattr(down, field)) == expected


def test_that_of_one_direction_goes_before_the_one_for_both_in_any_order():
    for arguments in itertools.permutations((("--loss", "5"), ("--up-loss", "0"))):
        up, down = conditions(*itertools.chain(*arguments))
        assert (up.loss, down.loss) == (0.0, 0.05)


def test_bursts_have_the_length_that_was_asked_for():
    up, down = conditions("--burst-loss", "5", "--burst-length", "16", "--up-burst-length", "2")
    assert up.burst_loss == BurstLoss.from_mean(0.05, 2.0)
    assert down.burst_loss == BurstLoss.from_mean(0.05, 16.0)


def test_there_may_be_several_blackouts():
    up, down = conditions("--blackout", "1:2", "--blackout", "10:2", "--down-blackout", "0:1")
    assert up.blackouts == (Blackout(1.0, 2.0), Blackout(10.0, 2.0))
    assert down.blackouts == (Blackout(0.0, 1.0),)


@pytest.mark.parametrize("bound", ["least", "most"])
def test_every_combination_of_what_is_allowed_makes_a_link(bound):
    least = {"burst-length": "1", "reorder-delay": "1", "rate": "1", "max-datagram": "0"}
    most = {"burst-loss": "50", "burst-length": "1", "rate": "10000000", "max-datagram": "65527"}
    per_cent = ("loss", "burst-loss", "duplicate", "reorder", "corrupt", "truncate", "replay")
    given = (
        dict.fromkeys(per_cent, "0") | least
        if bound == "least"
        else dict.fromkeys(per_cent, "100") | most
    )
    conditions(*itertools.chain(*((f"--{name}", text) for name, text in given.items())))
