"""The links as the demo's clients saw them, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mpgameserver.stats import ConnectionStats

__all__ = ["Timeline"]


@dataclass(frozen=True)
class Timeline:
    """Figures of all clients together; the first second is that of the first packet.

    There are 300 seconds at the most: of a longer demo, the last ones.
    """

    latency: tuple[float | None, ...] = ()
    """Milliseconds, the mean of the clients; None where nothing was acked."""
    latency_highest: tuple[float | None, ...] = ()
    """That of the client who had the highest."""
    packets_sent: tuple[int, ...] = ()
    packets_received: tuple[int, ...] = ()
    bytes_sent: tuple[int, ...] = ()
    bytes_received: tuple[int, ...] = ()

    @classmethod
    def of(cls, stats: Sequence[ConnectionStats]) -> Timeline:
        """Add up what the clients have told, all at one moment."""
        sent = _sums([each.pkts_sent for each in stats])
        received = _sums([each.pkts_recv for each in stats])
        packets = zip(sent, received, strict=True)
        began = next((second for second, pair in enumerate(packets) if any(pair)), len(sent))
        latencies = zip(*(each.latency for each in stats), strict=True)
        measured = [[ms for ms in second if ms] for second in latencies]
        return cls(
            latency=tuple(fmean(second) if second else None for second in measured[began:]),
            latency_highest=tuple(max(second, default=None) for second in measured[began:]),
            packets_sent=sent[began:],
            packets_received=received[began:],
            bytes_sent=_sums([each.bytes_sent for each in stats])[began:],
            bytes_received=_sums([each.bytes_recv for each in stats])[began:],
        )


def _sums(lists: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*lists, strict=True)))
