"""A token bucket: a limit on how often something is done per second, and at once."""

from __future__ import annotations

__all__ = ["TokenBucket"]

_ROUNDING = 0.01
"""Of a token: what a time of `next_time` may be short of, for it is a rounded sum."""


class TokenBucket:
    """Holds tokens up to `burst`, is full at first, and fills at `rate` tokens per second.

    `rate` and `burst` may be changed at any time. Times are monotonic, in seconds; one before an
    earlier one counts as the earlier one.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._filled_at = float("-inf")

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take a token, or so many at once; False when there are not as many."""
        self._fill(now)
        if self._tokens < tokens - _ROUNDING:
            return False
        self._tokens -= tokens
        return True

    def next_time(self) -> float:
        """Time of the next token; in the past if there is one already."""
        return self._filled_at + max(1 - self._tokens, 0.0) / self.rate

    def _fill(self, now: float) -> None:
        passed = now - self._filled_at
        if passed > 0:
            self._tokens = min(self._tokens + passed * self.rate, self.burst)
            self._filled_at = now
