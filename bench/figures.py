"""Measured values, their baselines, and targets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from timing import Spread

__all__ = ["BESIDE_OTHERS", "Figure", "readable", "spread_text"]

BESIDE_OTHERS = "players that one core serves within 100 ms"
"""The measurement of item 4 that compares libraries."""


@dataclass(frozen=True)
class Figure:
    """One line of the results: a value in its unit, as a ratio to a baseline or by itself."""

    item: int
    name: str
    value: Spread
    target: float | None
    """The most that the ratio, or the value where there is no baseline, may be; None where the
    line is there to be compared and has no target."""
    baseline_name: str = ""
    baseline: Spread | None = None
    unit: str = "µs"
    at_least: bool = False
    """The target is the least, and not the most."""
    anchor: str = ""
    """That from which the target was taken, where it is not this package itself."""
    command: str = ""
    """The command that measures this line alone."""

    @property
    def judged(self) -> float:
        """The value that is compared with the target."""
        if self.baseline is None:
            return self.value.median
        return self.value.median / self.baseline.median if self.baseline.median else math.inf

    @property
    def holds(self) -> bool | None:
        """True when the target is kept, None where there is none."""
        if self.target is None:
            return None
        return self.judged >= self.target if self.at_least else self.judged <= self.target

    @property
    def verdict(self) -> str:
        """Return the outcome as a word."""
        return {True: "met", False: "MISSED", None: ""}[self.holds]

    @property
    def result(self) -> str:
        """The ratio or the value, as a person reads it."""
        if math.isinf(self.judged):
            return "no ratio"
        return f"{self.judged:.2f} x" if self.baseline else readable(self.judged, self.unit)

    @property
    def limit(self) -> str:
        """The target, as a person reads it."""
        if self.target is None:
            return ""
        sign = "≥" if self.at_least else "≤"
        return (
            f"{sign} {self.target:g} x" if self.baseline else f"{sign} {self.target:,g} {self.unit}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The figure for a JSON file."""
        return asdict(self) | {
            "holds": self.holds,
            "result": self.result,
            "limit": self.limit,
            "verdict": self.verdict,
        }


def readable(value: float, unit: str) -> str:
    """A value with the digits that tell something."""
    digits = 0 if value >= 1000 else 1 if value >= 100 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def spread_text(spread: Spread, unit: str) -> str:
    """A median with its ends."""
    least, most = readable(spread.least, ""), readable(spread.most, "")
    return f"{readable(spread.median, unit)} ({least} to {most})"
