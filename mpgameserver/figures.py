"""Figures as people read them: percentiles, and times and rates with their unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["kilobytes_per_second", "milliseconds", "percentile"]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` per cent of them do not exceed.

    This is the nearest-rank definition: the result is always one of the values. Raises
    ValueError when there are none, or unless 0 < percent <= 100.
    """
    if not values:
        raise ValueError("no values, so no percentile")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and at most 100, not {percent!r}")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, with a decimal below 100; "-" for None."""
    if seconds is None:
        return "-"
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def kilobytes_per_second(rate: float | None) -> str:
    """Bytes per second as kilobytes (1,000 bytes) per second; "-" for None."""
    return "-" if rate is None else f"{rate / 1000:.1f} kB/s"
