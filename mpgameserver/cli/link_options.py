"""Options for the conditions of a link, in both directions or one, in the user's units."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpgameserver.cli.argtypes import MAX_SECONDS, number
from mpgameserver.netsim import MAX_DATAGRAM, Blackout, BurstLoss, LinkConditions

__all__ = ["DIRECTIONS", "add_link_options", "link_conditions"]

DIRECTIONS = ("up", "down")
"""To the server, and to the clients."""

_PER_CENT = number(float, 0, 100)
_MILLISECONDS = number(float, 0, 10_000)


@dataclass(frozen=True)
class _Option:
    name: str
    parse: Callable[[str], Any]
    default: Any
    text: str
    metavar: str = "N"
    is_repeatable: bool = False


def _parse_blackout(text: str) -> Blackout:
    """The argparse type of START:LENGTH."""
    start, colon, length = text.partition(":")
    parse = number(float, 0, MAX_SECONDS)
    if not colon:
        raise argparse.ArgumentTypeError(f"must be START:LENGTH in seconds, not {text!r}")
    return Blackout(parse(start), parse(length))


# Within these bounds every combination makes a link: a fraction of at most a half fits bursts of
# any length, and what is held back is held back for some time.
_OPTIONS = (
    _Option("loss", _PER_CENT, 0.0, "datagrams lost at random, in per cent"),
    _Option(
        "burst-loss", number(float, 0, 50), 0.0, "lost in bursts in addition to --loss, in per cent"
    ),
    _Option("burst-length", number(float, 1, 10_000), 4.0, "mean length of a burst, in datagrams"),
    _Option("duplicate", _PER_CENT, 0.0, "datagrams duplicated, in per cent"),
    _Option("latency", _MILLISECONDS, 0.0, "one-way latency, in milliseconds"),
    _Option("jitter", _MILLISECONDS, 0.0, "variation of the latency up and down, in milliseconds"),
    _Option("reorder", _PER_CENT, 0.0, "held back so that later ones overtake them, in per cent"),
    _Option(
        "reorder-delay",
        number(float, 1, 10_000),
        30.0,
        "how long those are held back, in milliseconds",
    ),
    _Option("rate", number(float, 1, 10_000_000), None, "bandwidth, in kB/s (1,000 bytes)"),
    _Option("queue", _MILLISECONDS, 100.0, "longest time in the queue of --rate, in milliseconds"),
    _Option(
        "blackout",
        _parse_blackout,
        (),
        "everything is lost for LENGTH seconds, START seconds from now; may be given repeatedly",
        "START:LENGTH",
        is_repeatable=True,
    ),
    _Option("corrupt", _PER_CENT, 0.0, "datagrams with a bit flipped, in per cent"),
    _Option("truncate", _PER_CENT, 0.0, "datagrams truncated, in per cent"),
    _Option("replay", _PER_CENT, 0.0, "datagrams that bring a replay of an older one, in per cent"),
    _Option("max-datagram", number(int, 0, MAX_DATAGRAM), None, "bytes; larger datagrams are lost"),
)


def add_link_options(command: argparse.ArgumentParser) -> None:
    """Add every option three times: for both directions, and for each. The help shows the first."""
    group = command.add_argument_group("conditions of the link")
    for option in _OPTIONS:
        told = f" (default: {option.default:g})" if option.default else ""
        for prefix in ("", *(f"{direction}-" for direction in DIRECTIONS)):
            group.add_argument(
                f"--{prefix}{option.name}",
                metavar=option.metavar,
                type=option.parse,
                action="append" if option.is_repeatable else "store",
                help=argparse.SUPPRESS if prefix else option.text + told,
            )


def link_conditions(arguments: argparse.Namespace, direction: str) -> LinkConditions:
    """Return the conditions that the options set for one of the `DIRECTIONS`."""
    value = {option.name: _value(arguments, option, direction) for option in _OPTIONS}
    rate, burst_loss = value["rate"], value["burst-loss"]
    return LinkConditions(
        loss=value["loss"] / 100,
        burst_loss=(
            BurstLoss.from_mean(burst_loss / 100, value["burst-length"]) if burst_loss else None
        ),
        duplicate=value["duplicate"] / 100,
        latency=value["latency"] / 1000,
        jitter=value["jitter"] / 1000,
        reorder=value["reorder"] / 100,
        reorder_delay=value["reorder-delay"] / 1000,
        rate=None if rate is None else rate * 1000,
        queue=value["queue"] / 1000,
        blackouts=tuple(value["blackout"]),
        corrupt=value["corrupt"] / 100,
        truncate=value["truncate"] / 100,
        replay=value["replay"] / 100,
        max_datagram=value["max-datagram"],
    )


def _value(arguments: argparse.Namespace, option: _Option, direction: str) -> Any:
    """Return the value given for the direction, else for both, else the default."""
    for name in (f"{direction}-{option.name}", option.name):
        given = getattr(arguments, name.replace("-", "_"))
        if given is not None:
            return given
    return option.default
