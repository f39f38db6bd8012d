"""Soak connections in every condition and print a table: `make soak`.

A failure ends the run with a traceback that names condition and seed. In virtual time, so the
same seed does the same on every machine, however fast.
"""

from __future__ import annotations

import argparse
import random
import time
from itertools import chain

from soak.conditions import (
    Condition,
    bad_times,
    everything,
    game_networking_sockets,
    wraps,
    yojimbo,
)
from soak.soaking import Figures, soak

import mpgameserver


def all_conditions(messages: int) -> list[Condition]:
    """Every condition, at full length; `messages` are yojimbo's."""
    return list(
        chain(
            game_networking_sockets(seconds=60.0),
            bad_times(seconds=120.0),
            wraps(messages=2000, laps=66_000),
            everything(messages=4000),
            yojimbo(messages),
        )
    )


def main() -> None:
    """Parse the arguments, soak, and print the table."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="of links and messages; default: a new one")
    parser.add_argument("--messages", type=int, default=1_000_000, help="under yojimbo's link")
    parser.add_argument("--only", default="", help="the conditions whose name has this in it")
    args = parser.parse_args()
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    chosen = [c for c in all_conditions(args.messages) if args.only in c.name]
    if not chosen:
        parser.error(f"no condition has {args.only!r} in its name")
    info = mpgameserver.build_info()
    print(f"mpgameserver {mpgameserver.__version__}, {info.kind} build, {mpgameserver.__file__}")
    print(f"seed: {seed} (again: make soak ARGS='--seed {seed}')\n{Figures.header()}", flush=True)
    began, rows = time.perf_counter(), []
    for condition in chosen:
        rows.append(soak(condition, seed))
        print(rows[-1], flush=True)
    total = Figures(
        "all",
        sum(row.messages for row in rows),
        sum(row.reliable for row in rows),
        sum(row.virtual for row in rows),
        time.perf_counter() - began,
        sum(row.retransmitted for row in rows),
        sum(row.duplicates for row in rows),
    )
    print(f"{total}\nlost 0, altered 0, delivered twice 0, callbacks missing or repeated 0")


if __name__ == "__main__":
    main()
