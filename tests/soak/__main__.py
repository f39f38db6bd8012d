"""Soak connections in every condition and print a table: `make soak`.

A failure ends the run with a traceback that names condition and seed. In virtual time, so the
same seed does the same on every machine, however fast.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from itertools import chain

from soak.conditions import (
    Condition,
    bad_times,
    everything,
    game_networking_sockets,
    replays,
    wraps,
    yojimbo,
    yojimbo_pauses,
)
from soak.crowd import CrowdCondition, crowds, soak_crowd
from soak.delays import report
from soak.figures import Figures
from soak.soaking import soak

import mpgameserver


def all_conditions(messages: int) -> list[Condition | CrowdCondition]:
    """Every condition, at full length; `messages` are yojimbo's."""
    return list(
        chain(
            game_networking_sockets(seconds=60.0),
            bad_times(seconds=120.0),
            wraps(messages=2000, laps=66_000),
            replays(laps=66_000),
            everything(messages=4000),
            crowds(clients=64, seconds=60.0),
            yojimbo_pauses(messages=12_000),
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
    # The effects of a bad link on datagrams are expected here.
    logging.basicConfig(level=logging.ERROR)
    info = mpgameserver.build_info()
    print(f"mpgameserver {mpgameserver.__version__}, {info.kind} build, {mpgameserver.__file__}")
    print(f"seed: {seed} (again: make soak ARGS='--seed {seed}')\n{Figures.header()}", flush=True)
    began, rows = time.perf_counter(), []
    for condition in chosen:
        run = soak_crowd if isinstance(condition, CrowdCondition) else soak
        rows.append(run(condition, seed))
        print(rows[-1], flush=True)
    total = Figures.total(rows, time.perf_counter() - began)
    print(
        f"{total}\nlost 0, altered 0, delivered twice 0, callbacks missing or repeated 0, "
        f"nonces repeated 0, packets decrypted twice 0"
    )
    if not args.only:
        print(*report(seed), sep="\n")


if __name__ == "__main__":
    main()
