"""Options for the conditions of a link, in both directions or one, in the user's units."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from mpgameserver.cli.argtypes import MAX_SECONDS, number
from mpgameserver.netsim import MAX_DATAGRAM, Blackout, BurstLoss, LinkConditions

__all__ = ["DIRECTIONS", "add_link_options", "link_conditions"]

DIRECTIONS = ("up", "down")
"""To the server, and to the clients."""


def _parse_scaled(low: float, high: float, scale: float, text: str) -> float:
    """The argparse type of numbers whose unit is a `scale`-th of that of `LinkConditions`."""
    return number(float, low, high)(text) / scale


def _parse_blackout(text: str) -> Blackout:
    """The argparse type of START:LENGTH."""
    start, colon, length = text.partition(":")
    parse = number(float, 0, MAX_SECONDS)
    if not colon:
        raise argparse.ArgumentTypeError(f"must be START:LENGTH in seconds, not {text!r}")
    return Blackout(parse(start), parse(length))


_PER_CENT = partial(_parse_scaled, 0, 100, 100)
_MILLISECONDS = partial(_parse_scaled, 0, 10_000, 1000)
# Within these bounds every combination makes a link: a fraction of at most a half fits bursts of
# any length, and what is held back is held back for some time.
_PER_CENT_IN_BURSTS = partial(_parse_scaled, 0, 50, 100)
_HELD_BACK = partial(_parse_scaled, 1, 10_000, 1000)
_KILOBYTES_PER_SECOND = partial(_parse_scaled, 1, 10_000_000, 1 / 1000)


def add_link_options(command: argparse.ArgumentParser) -> None:
    """Add every option three times: for both directions, and for each. The help shows the first."""
    group = command.add_argument_group("conditions of the link")

    def add(
        name: str, parse: Callable[[str], Any], text: str, default: str | None = None, **more: Any
    ) -> None:
        settings: dict[str, Any] = {"type": parse, "metavar": "N"} | more
        told = " (default: %(default)s)" if default else ""
        group.add_argument(f"--{name}", default=default, help=text + told, **settings)
        for direction in DIRECTIONS:
            group.add_argument(f"--{direction}-{name}", help=argparse.SUPPRESS, **settings)

    add("loss", _PER_CENT, "datagrams lost at random, in per cent")
    add("burst-loss", _PER_CENT_IN_BURSTS, "lost in bursts in addition to --loss, in per cent")
    add("burst-length", number(float, 1, 10_000), "mean length of a burst, in datagrams", "4")
    add("duplicate", _PER_CENT, "datagrams duplicated, in per cent")
    add("latency", _MILLISECONDS, "one-way latency, in milliseconds")
    add("jitter", _MILLISECONDS, "variation of the latency up and down, in milliseconds")
    add("reorder", _PER_CENT, "held back so that later ones overtake them, in per cent")
    add("reorder-delay", _HELD_BACK, "how long those are held back, in milliseconds", "30")
    add("rate", _KILOBYTES_PER_SECOND, "bandwidth, in kB/s (1,000 bytes)")
    add("queue", _MILLISECONDS, "longest time in the queue of --rate, in milliseconds", "100")
    add(
        "blackout",
        _parse_blackout,
        "everything is lost for LENGTH seconds, START seconds from now; may be given repeatedly",
        metavar="START:LENGTH",
        action="append",
    )
    add("corrupt", _PER_CENT, "datagrams with a bit flipped, in per cent")
    add("truncate", _PER_CENT, "datagrams truncated, in per cent")
    add("replay", _PER_CENT, "datagrams that bring a replay of an older one, in per cent")
    add("max-datagram", number(int, 0, MAX_DATAGRAM), "bytes; larger datagrams are lost")


def link_conditions(arguments: argparse.Namespace, direction: str) -> LinkConditions:
    """Return the conditions that the options set for one of the `DIRECTIONS`."""

    def given(name: str) -> Any:
        own = getattr(arguments, f"{direction}_{name}")
        return getattr(arguments, name) if own is None else own

    built = ("burst_loss", "blackouts")
    values = {f.name: given(f.name) for f in fields(LinkConditions) if f.name not in built}
    if given("burst_loss"):
        values["burst_loss"] = BurstLoss.from_mean(given("burst_loss"), given("burst_length"))
    values["blackouts"] = tuple(given("blackout") or ())
    return LinkConditions(**{name: value for name, value in values.items() if value is not None})
