"""A token bucket: a limit on the rate of something, with a burst."""

from __future__ import annotations

__all__ = ["TokenBucket"]

_ROUNDING = 0.01
"""Tokens: the rounding error of `next_time`."""


class TokenBucket:
    """Holds tokens up to `burst`, is full at first, and fills at `rate` tokens per second.

    `rate` and `burst` may be changed at any time. Times are monotonic, in seconds; a
    time that goes back counts as the latest one.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._filled_at = float("-inf")

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take one token or more at once; return False, and take none, if there are too few."""
        self._fill(now)
        if self._tokens < tokens - _ROUNDING:
            return False
        self._tokens -= tokens
        return True

    def next_time(self) -> float:
        """Return the time of the next token; in the past if there is one already."""
        return self._filled_at + max(1 - self._tokens, 0.0) / self.rate

    def _fill(self, now: float) -> None:
        passed = now - self._filled_at
        if passed > 0:
            self._tokens = min(self._tokens + passed * self.rate, self.burst)
            self._filled_at = now
