"""The intervals of a connection."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Timing", "check_interval"]


@dataclass
class Timing:
    """The intervals of a connection, in seconds."""

    keep_alive: float = 0.1
    """Between packets of a side that has nothing to say."""
    message: float = 1.0
    """Until a packet, or a message that is not sent for ever, counts as not arrived."""
    silence: float = 5.0
    """Without an accepted packet, until the connection counts as dropped."""

    def contradiction(self) -> str | None:
        """What cannot work about these intervals together; None if they can.

        The other side's idle timeout is not known, and is taken to be this one.
        """
        if self.keep_alive < self.silence:
            return None
        return (
            f"the keep-alive interval ({self.keep_alive:g} s) must be shorter than "
            f"the idle timeout ({self.silence:g} s), which would end every idle connection"
        )

    def check(self) -> None:
        """Raise ValueError, which names both, if two of the intervals contradict each other."""
        contradiction = self.contradiction()
        if contradiction is not None:
            raise ValueError(contradiction)


def check_interval(name: str, seconds: float) -> float:
    """`seconds`, when it is a finite number above 0; else TypeError or ValueError."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be above 0 seconds, not {seconds!r}")
    return float(seconds)
