"""Soak connections in every condition and print a table: `make soak`.

A failure ends the run with a traceback that names condition and seed. In virtual time, so the
same seed does the same on every machine, however fast.
"""

from __future__ import annotations

import argparse
import logging
import random
import time
from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

from soak.conditions import (
    Condition,
    bad_times,
    everything,
    game_networking_sockets,
    reordered,
    replays,
    wraps,
    yojimbo,
    yojimbo_pauses,
)
from soak.crowd import CrowdCondition, crowds, soak_crowd
from soak.crowd2 import soak_crowd2
from soak.delays import report
from soak.figures import Figures
from soak.soaking import soak
from soak.soaking2 import soak2

import mpgameserver


class Runs(NamedTuple):
    """The functions that soak with one protocol."""

    pair: Callable[[Condition, int], Figures]
    crowd: Callable[[CrowdCondition, int], Figures]


RUNS = {1: Runs(soak, soak_crowd), 2: Runs(soak2, soak_crowd2)}


def all_conditions(messages: int, protocol: int) -> list[Condition | CrowdCondition]:
    """Every condition, at full length; `messages` are yojimbo's."""
    return list(
        chain(
            game_networking_sockets(seconds=60.0),
            reordered(seconds=60.0) if protocol == 2 else (),
            bad_times(seconds=120.0),
            # In protocol 2 no packet number wraps.
            wraps(messages=2000, laps=66_000) if protocol == 1 else (),
            replays(laps=66_000),
            everything(messages=4000),
            crowds(clients=64, seconds=60.0),
            yojimbo_pauses(messages=12_000),
            yojimbo(messages),
        )
    )


def main() -> None:
    """Parse the arguments, soak, and print the tables."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="of links and messages; default: a new one")
    parser.add_argument("--messages", type=int, default=1_000_000, help="under yojimbo's link")
    parser.add_argument("--only", default="", help="the conditions whose name has this in it")
    parser.add_argument("--protocol", type=int, choices=(1, 2), help="only this one")
    args = parser.parse_args()
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    protocols = (args.protocol,) if args.protocol else (1, 2)
    chosen = {
        protocol: [c for c in all_conditions(args.messages, protocol) if args.only in c.name]
        for protocol in protocols
    }
    if not any(chosen.values()):
        parser.error(f"no condition has {args.only!r} in its name")
    # The effects of a bad link on datagrams are expected here.
    logging.basicConfig(level=logging.ERROR)
    info = mpgameserver.build_info()
    print(f"mpgameserver {mpgameserver.__version__}, {info.kind} build, {mpgameserver.__file__}")
    print(f"seed: {seed} (again: make soak ARGS='--seed {seed}')")
    for protocol, conditions in chosen.items():
        print(f"protocol {protocol}")
        soak_all(conditions, seed, RUNS[protocol])
        if protocol == 1 and not args.only:
            print(*report(seed), sep="\n", flush=True)


def soak_all(conditions: list[Condition | CrowdCondition], seed: int, runs: Runs) -> None:
    """Soak in all conditions, and print a row for each."""
    print(Figures.header(), flush=True)
    began, rows = time.perf_counter(), []
    for condition in conditions:
        is_crowd = isinstance(condition, CrowdCondition)
        rows.append(runs.crowd(condition, seed) if is_crowd else runs.pair(condition, seed))
        print(rows[-1], flush=True)
    total = Figures.total(rows, time.perf_counter() - began)
    print(
        f"{total}\nlost 0, altered 0, delivered twice 0, callbacks missing or repeated 0, "
        f"nonces repeated 0, packets decrypted twice 0",
        flush=True,
    )


if __name__ == "__main__":
    main()
