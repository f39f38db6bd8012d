"""The figures of a run, as a row of the table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Figures"]

NAME_WIDTH = 38


@dataclass(frozen=True)
class Figures:
    """The figures of a run in one condition."""

    name: str
    messages: int
    """Said in both directions together, as are all that follow."""
    reliable: int
    payload: int
    """Bytes of the messages that arrived."""
    packets: int
    """Sealed; each under a nonce of its own."""
    retransmitted: int
    duplicates: int
    """Packets and messages that arrived again and were dropped."""
    virtual: float
    wall: float

    @classmethod
    def total(cls, rows: Iterable[Figures], wall: float) -> Figures:
        """All rows together, which have taken `wall` seconds."""
        rows = list(rows)
        counts = ("messages", "reliable", "payload", "packets", "retransmitted", "duplicates")
        sums = {name: sum(getattr(row, name) for row in rows) for name in counts}
        return cls("all", **sums, virtual=sum(row.virtual for row in rows), wall=wall)

    @staticmethod
    def header() -> str:
        """The names of the columns."""
        return (
            f"{'condition':{NAME_WIDTH}} {'messages':>9} {'reliable':>9} {'packets':>9} "
            f"{'again':>8} {'dup.':>8} {'kB/s':>6} {'virtual s':>9} {'wall s':>6}"
        )

    def __str__(self) -> str:
        return (
            f"{self.name:{NAME_WIDTH}} {self.messages:9} {self.reliable:9} {self.packets:9} "
            f"{self.retransmitted:8} {self.duplicates:8} "
            f"{self.payload / 1000 / self.virtual:6.0f} {self.virtual:9.1f} {self.wall:6.1f}"
        )
