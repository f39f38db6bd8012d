"""The result of a step of the ramp, and its interpretation. There is no network code here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BEHIND = 0.010
"""Seconds that one of a hundred asks may leave late; more, and the swarm measures itself."""
BUSY = 0.95
"""Share of its core that the swarm may use, for the same reason."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that so many of them do not exceed; infinity for none."""
    if not values:
        return math.inf
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@dataclass(frozen=True)
class Step:
    """So many bots, and how they fared."""

    bots: int
    unconnected: int
    """Bots that could not connect, or lost their connection."""
    asks_per_second: float
    median: float
    """Seconds to an answer."""
    p99: float
    asked: int
    lost: int
    """Asks without an answer."""
    late: float
    """The 99th percentile of what the swarm was behind its own schedule, in seconds."""
    busy: float
    """The share of a core that the swarm has used."""


def own_limit(step: Step) -> str | None:
    """Return why a step says nothing about the server; None if it does."""
    if step.late > BEHIND:
        return f"it sends {step.late * 1000:.0f} ms late"
    if step.busy > BUSY:
        return f"it uses {step.busy:.0%} of its core"
    return None


def server_limit(step: Step, latest: float) -> str | None:
    """Return what the server could not do in a step; None if all bots were served."""
    if step.unconnected:
        return f"{step.unconnected:,} of them could not connect, or stay so"
    if step.lost:
        return f"{step.lost:,} of {step.asked:,} answers were lost"
    if step.p99 > latest:
        p99, most = step.p99 * 1000, latest * 1000
        return f"the 99th percentile of the answers is {p99:.1f} ms, above {most:.1f} ms"
    return None


@dataclass(frozen=True)
class Finding:
    """The result of the whole ramp."""

    text: str
    is_of_the_server: bool
    """The steps say something of the server."""


def finding(steps: Sequence[Step], latest: float) -> Finding:
    """Return the result of the steps, of which all but the last were served."""
    served = steps[-2].bots if len(steps) > 1 else 0
    last = steps[-1]
    if last.unconnected == last.bots:
        text = (
            f"None of the {last.bots:,} bots could connect. Is the server running, with that key?"
        )
        return Finding(text, False)
    own, server = own_limit(last), server_limit(last, latest)
    if own is not None:
        text = f"{served:,} bots are served; with {last.bots:,} the swarm itself is at its limit"
        return Finding(f"{text}: {own}. That says nothing of the server.", False)
    if server is not None:
        return Finding(f"{served:,} bots are served; with {last.bots:,}, {server}.", True)
    return Finding(f"{last.bots:,} bots are served, and no more were asked for.", True)
