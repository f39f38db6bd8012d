"""Medians of interleaved repetitions.

The machine's speed drifts, so what is compared is measured in turn, A B A B, and never one after
the other; and the ratio is that of the medians of one run.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Timed = Callable[[], float]
"""Runs once, and tells how long one unit of it took, in microseconds."""


@dataclass(frozen=True)
class Spread:
    """The median of some repetitions, with the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def interleave(cases: Mapping[str, Timed], repetitions: int) -> dict[str, Spread]:
    """Run every case once per repetition, in turn; what each took."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for timed in cases.values():  # not counted: caches and allocators warm up
        timed()
    for _ in range(repetitions):
        for name, timed in cases.items():
            gc.collect()
            found[name].append(timed())
    return {name: Spread.of(values) for name, values in found.items()}
