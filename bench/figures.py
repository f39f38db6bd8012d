"""What was measured, what it is held against, and whether it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from timing import Spread

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """One line of the results: a time in microseconds, as a ratio to a baseline or by itself."""

    item: int
    name: str
    value: Spread
    target: float
    """The most that the ratio, or the time where there is no baseline, may be."""
    baseline_name: str = ""
    baseline: Spread | None = None

    @property
    def judged(self) -> float:
        """What is held against the target."""
        return self.value.median / self.baseline.median if self.baseline else self.value.median

    @property
    def holds(self) -> bool:
        """True when the target is kept."""
        return self.judged <= self.target

    @property
    def result(self) -> str:
        """The ratio or the time, as a person reads it."""
        return f"{self.judged:.2f} x" if self.baseline else f"{self.judged:.2f} µs"

    @property
    def limit(self) -> str:
        """The target, as a person reads it."""
        return f"≤ {self.target:g} x" if self.baseline else f"≤ {self.target:g} µs"

    def as_dict(self) -> dict[str, Any]:
        """The figure for a JSON file."""
        return asdict(self) | {"judged": self.judged, "holds": self.holds}
