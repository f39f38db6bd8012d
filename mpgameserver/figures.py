"""Figures as people read them: percentiles, and numbers of the units that tables use."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["kilobytes", "milliseconds", "percentile"]


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
    """Seconds as a number of milliseconds, with a decimal below 100; "-" for None."""
    return "-" if seconds is None else _short(seconds * 1000)


def kilobytes(count: float | None) -> str:
    """Bytes as a number of kilobytes (1,000 bytes), with a decimal below 100; "-" for None."""
    return "-" if count is None else _short(count / 1000)


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
