"""The command line: a ramp of bots, a table of what each step has found, and the limit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mpgameserver import EllipticCurvePublicKey
from swarm import openfiles
from swarm.crowd import AT_A_TIME, SOCKETS_PER_ATTEMPT, Crowd
from swarm.measuring import Step, finding, own_limit, server_limit
from swarm.options import address, is_here, key_file, number
from swarm.script import Echo, Script

MOST_BOTS = 10_000
"""More than one core can play for many times over."""
MOST_SECONDS = 60.0
HEADERS = ("bots", "asks/s", "median", "p99", "lost", "not there", "late", "own core")


@dataclass(frozen=True)
class Ramp:
    """The growth of the load, and the demands on the server."""

    step: int
    """Bots by which it grows."""
    most: int
    seconds: float
    """Seconds of play for each step."""
    latest: float
    """Seconds within which 99 of 100 answers must come."""


def climb(crowd: Crowd, ramp: Ramp) -> Iterator[Step]:
    """The steps, up to the first that is not served, or that the swarm is the limit of."""
    for bots in range(ramp.step, ramp.most + ramp.step, ramp.step):
        crowd.grow(min(bots, ramp.most))
        step = crowd.play(ramp.seconds)
        yield step
        if own_limit(step) or server_limit(step, ramp.latest):
            return


def table_of(steps: Sequence[Step]) -> Table:
    """A row for each step."""
    table = Table()
    for header in HEADERS:
        table.add_column(header, justify="right")
    for step in steps:
        table.add_row(
            f"{step.bots:,}",
            f"{step.asks_per_second:,.0f}",
            _milliseconds(step.median),
            _milliseconds(step.p99),
            f"{step.lost:,}",
            f"{step.unconnected:,}",
            f"{step.late * 1000:.1f} ms",
            f"{step.busy:.0%}",
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if isfinite(seconds) else "-"


def run(crowd: Crowd, ramp: Ramp, console: Console) -> int:
    """Climb, show it, and tell the limit; 1 when nothing was found out of the server."""
    steps: list[Step] = []
    with Live(table_of(steps), console=console, auto_refresh=False) as live:
        for step in climb(crowd, ramp):
            steps.append(step)
            live.update(table_of(steps), refresh=True)
    if not console.is_terminal:
        console.line()  # which a table that cannot be redrawn does not end with
    found = finding(steps, ramp.latest)
    console.print(found.text, highlight=False, soft_wrap=True)
    return 0 if found.is_of_the_server else 1


def main(script: Callable[[int], Script] = Echo) -> int:
    """Read the command line, and run bots that play a script."""
    options = _options()
    ramp = Ramp(options.step, options.most, options.seconds, options.p99 / 1000)
    try:
        openfiles.allow(ramp.most + SOCKETS_PER_ATTEMPT * AT_A_TIME)
        key = EllipticCurvePublicKey.fromPEM(options.key.read_text())
        with Crowd(options.server, key, script) as crowd:
            return run(crowd, ramp, Console())
    except (OSError, ValueError, openfiles.TooFewFilesError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m swarm",
        description="Load your own server with bots, more and more, until it is at its limit.",
    )
    parser.add_argument("server", metavar="HOST:PORT", type=address, help="of this machine")
    parser.add_argument(
        "--key", type=key_file, default="swarm.pem.pub", help="public key (%(default)s)"
    )
    parser.add_argument(
        "--step", type=number(int, MOST_BOTS), default=50, help="bots more each time (%(default)s)"
    )
    parser.add_argument(
        "--most", type=number(int, MOST_BOTS), default=500, help="bots in all (%(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=number(float, MOST_SECONDS),
        default=3.0,
        help="of play with so many bots (%(default)g)",
    )
    parser.add_argument(
        "--p99",
        type=number(float, 1000.0 * MOST_SECONDS),
        default=50.0,
        help="ms within which 99%% of the answers are to come (%(default)g)",
    )
    parser.add_argument(
        "--elsewhere", action="store_true", help="the server is on another machine, and is yours"
    )
    options = parser.parse_args()
    if not options.elsewhere and not is_here(options.server[0]):
        parser.error(f"{options.server[0]} is not this machine: --elsewhere, if it is yours")
    if options.step > options.most:
        parser.error(f"a step of {options.step} is more than {options.most} bots")
    return options
