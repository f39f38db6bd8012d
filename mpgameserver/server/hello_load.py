"""The load of hellos: are there more of them than a server answers?"""

from __future__ import annotations

__all__ = ["HelloLoad"]

MEMORY_SECONDS = 1.0
"""Seconds of the rate that are remembered: bursts with pauses between them count as one flood, and
load ends within so long after the flood."""


class HelloLoad:
    """Under load from `burst` hellos at once, until they come at less than `rate` per second.

    Hellos are counted in a bucket that leaks at that rate: load begins when it holds `burst`, and
    ends when it is empty. So one flood has one beginning, before which `burst` hellos pass, however
    long it lasts. Both may be changed at any time. Times are monotonic, in seconds.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = 0.0
        self._leaked_at = float("-inf")
        self._is_high = False

    def note(self, now: float) -> None:
        """Count a hello."""
        self._leak(now)
        self._level = min(self._level + 1, max(self.rate * MEMORY_SECONDS, self.burst))
        self._is_high = self._is_high or self._level >= self.burst

    def is_high(self, now: float) -> bool:
        """Return True while there is load."""
        self._leak(now)
        return self._is_high

    def _leak(self, now: float) -> None:
        passed = now - self._leaked_at
        if passed > 0:
            self._level = max(self._level - passed * self.rate, 0.0)
            self._leaked_at = now
            self._is_high = self._is_high and self._level > 0
