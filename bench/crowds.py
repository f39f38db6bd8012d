"""Item 4: how many players one core serves.

The crowd runs on one core and the server on the other. The largest crowd is looked for by halving
the distance between one that is served and one that is not, so many times: served means that every
message was answered, and 99 of 100 in time. A trial in which the crowd itself was the limit says
nothing of the server and is made once more; when it is so again, the figure says whose limit it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from figures import BESIDE_OTHERS, Figure
from libraries import OURS, Library, libraries
from programs import client, serving
from timing import Spread

__all__ = ["idlers", "others", "players", "trial"]

WANTED_PLAYERS, WANTED_IDLE = 4096, 20_000
LATEST, LATEST_OF_OTHERS = 0.040, 0.100
"""Seconds within which 99 of 100 answers must come, from this package and from the others."""
PLAYERS = "players of 32 datagrams/s that one core serves"

Found = dict[str, Any]


@dataclass(frozen=True)
class Largest:
    """The largest crowd that was served, what it found, and what the least that was not did."""

    players: int
    found: Found = field(default_factory=dict)
    beyond: Found = field(default_factory=dict)

    @property
    def by_crowd(self) -> bool:
        """True when it was the crowd that could do no more."""
        return bool(self.beyond.get("limited"))


def has_two_cores() -> bool:
    """True where server and crowd each get a core."""
    return hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1


def trial(library: Library, what: str, bots: int, seconds: float, use: str = "") -> Found:
    """The result of so many bots on a library's server."""
    with serving(*library.command("server", use or what)) as (port, key, process):
        return client(*library.crowd_command(what, port, key, bots, seconds, process))


def is_served(found: Found, latest: float) -> bool:
    """True when every answer came, nearly all of them in time, and the load was what it should."""
    return (
        "failure" not in found
        and found["lost"] == 0
        and found["p99"] <= latest
        and not found["limited"]
    )


def largest(attempt: Callable[[int], Found], latest: float, most: int, trials: int) -> Largest:
    """The largest crowd of less than `most` that is served, to within `most` / 2 ** `trials`."""
    served, refused = Largest(0), most
    beyond: Found = {}
    for _ in range(trials):
        bots = (served.players + refused) // 2
        found = attempt(bots)
        if found.get("limited"):
            found = attempt(bots)
        if is_served(found, latest):
            served = Largest(bots, found)
        else:
            refused, beyond = bots, found
    return Largest(served.players, served.found, beyond)


def search(library: Library, latest: float, seconds: float, trials: int) -> Largest:
    """The largest crowd that a library serves."""
    return largest(
        lambda bots: trial(library, "play", bots, seconds), latest, library.most_players, trials
    )


def players(seconds: float, repetitions: int, trials: int) -> Iterator[Figure]:
    """Item 4: players who send 32 datagrams of 64 B a second."""
    if not has_two_cores():
        return
    runs = [search(libraries()[OURS], LATEST, seconds, trials) for _ in range(repetitions)]
    yield from of_players(runs)


def of_players(runs: list[Largest]) -> Iterator[Figure]:
    """Yield the results of some searches, and the conditions for the largest crowds."""
    counts = Spread.of([float(run.players) for run in runs])
    name = f"{PLAYERS}, or the crowd can be" if any(run.by_crowd for run in runs) else PLAYERS
    yield Figure(4, name, counts, float(WANTED_PLAYERS), unit="players", at_least=True)
    at_best = [run.found for run in runs if run.found]
    for name, key, unit, factor in (
        ("reply time with that many, p50", "p50", "ms", 1000.0),
        ("reply time with that many, p99", "p99", "ms", 1000.0),
        ("share of its own core that the crowd used", "crowd", "%", 100.0),
    ):
        if at_best:
            spread = Spread.of([found[key] * factor for found in at_best])
            yield Figure(4, name, spread, None, unit=unit)


def others(seconds: float, trials: int) -> Iterator[Figure]:
    """Item 4: players that the other libraries serve, and this one in the same time."""
    if not has_two_cores():
        return
    found = {
        name: search(library, LATEST_OF_OTHERS, seconds, trials)
        for name, library in libraries().items()
        if library.most_players
    }
    yield from beside(found)


def beside(found: dict[str, Largest]) -> Iterator[Figure]:
    """Yield what this package serves compared with each other library."""
    counts = {name: Spread.of([float(run.players)]) for name, run in found.items()}
    for name, run in found.items():
        if name != OURS:
            against = f"{name} (limited by its bots)" if run.by_crowd else name
            yield Figure(
                4, BESIDE_OTHERS, counts[OURS], None, against, counts[name], "players", True
            )


def idlers(seconds: float) -> Iterator[Figure]:
    """Item 4: connections that only keep alive, once a second."""
    if not has_two_cores():
        return
    found = trial(libraries()[OURS], "idle", WANTED_IDLE, seconds)
    name = f"{found['bots']:,} idle connections, share of a core"
    yield Figure(4, name, Spread.of([found["server"] * 100.0]), 50.0, unit="%")
