"""Statistics of a connection, and a plot of them per second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpgameserver._core.endpoint import DROP_REASONS, Endpoint
from mpgameserver._core.rate_bins import BINS
from mpgameserver.reprs import even_unmade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ConnectionStats", "percentile", "plot_seconds"]

PLOT_SIZE = (8.0, 7.0)
"""Inches."""
MIN_PLOT_SECONDS = 10
"""The shortest time that is drawn, so that the first second of a session is no line by itself."""
_HEADROOM = 1.1

_SUMMARY = ("sent", "received", "acked", "timeouts", "dropped", "retransmitted")


def _zeros() -> list[int]:
    return [0] * BINS


def _no_drops() -> dict[str, int]:
    return dict.fromkeys(DROP_REASONS, 0)


@dataclass(frozen=True, repr=False)
class ConnectionStats:
    """A snapshot of a connection's statistics, which later traffic does not change.

    The lists always have 300 bins of one second each, the oldest first and the current second last;
    seconds before the connection and seconds without traffic are 0. Packets are the encrypted ones,
    bytes are bytes of UDP payload.
    """

    acked: int = 0
    """Packets sent that the peer has acked."""
    assembled: int = 0
    """Packets created."""
    sent: int = 0
    """Packets handed to the network; fewer than `assembled` while the socket is not writable."""
    received: int = 0
    """Packets that arrived and were accepted."""
    dropped: int = 0
    """Datagrams that arrived and were dropped: duplicates, forgeries, malformed ones."""
    timeouts: int = 0
    """Ack-eliciting packets sent that were not acked within the message timeout."""
    retransmitted: int = 0
    """Messages or fragments that were retransmitted."""
    repeated_messages: int = 0
    """Duplicate messages, which were not delivered again."""
    discarded_messages: int = 0
    """Incomplete messages discarded: their fragments contradicted each other, or stopped coming."""
    largest_datagram: int = 0
    """Bytes that the datagrams of this side have at most at present. In protocol 2 that is what the
    path is known to carry, 1,200 at first."""
    drops: dict[str, int] = field(default_factory=_no_drops)
    """`dropped`, by reason."""
    send_errors: dict[str, int] = field(default_factory=dict)
    """Datagrams that the system refused to send, by the name of the error, such as "EPERM" (a
    firewall) and "ENETUNREACH" (no route). Empty for a server's client: see `ServerStats`."""
    bytes_sent: list[int] = field(default_factory=_zeros)
    """Bytes of the packets sent in each second."""
    bytes_recv: list[int] = field(default_factory=_zeros)
    """Bytes of the packets accepted in each second."""
    pkts_sent: list[int] = field(default_factory=_zeros)
    """Packets sent in each second."""
    pkts_recv: list[int] = field(default_factory=_zeros)
    """Packets accepted in each second."""
    latency: list[int] = field(default_factory=_zeros)
    """Mean round trip of the packets acked in each second, in rounded whole milliseconds."""

    @even_unmade
    def __repr__(self) -> str:
        """Return the lifetime counts and the newest latency; the lists are 1,500 numbers."""
        counts = ", ".join(f"{name} {getattr(self, name)}" for name in _SUMMARY)
        latest = next((value for value in reversed(self.latency) if value), None)
        latency = "unknown" if latest is None else f"{latest} ms"
        return f"<ConnectionStats {counts}, latency {latency}>"

    @classmethod
    def of(cls, endpoint: Endpoint, now: float) -> ConnectionStats:
        """Return the statistics of an endpoint at the monotonic time `now`, in seconds."""
        bytes_sent, bytes_recv, pkts_sent, pkts_recv, latency = endpoint.rate_bins.lists(now)
        return cls(
            acked=endpoint.acked,
            assembled=endpoint.assembled,
            sent=endpoint.sent,
            received=endpoint.received,
            dropped=endpoint.dropped,
            timeouts=endpoint.timeouts,
            retransmitted=endpoint.send_queue.retransmitted,
            repeated_messages=endpoint.repeated_messages,
            discarded_messages=endpoint.reassembler.discarded,
            largest_datagram=endpoint.largest_datagram(),
            drops=endpoint.drops,
            bytes_sent=bytes_sent,
            bytes_recv=bytes_recv,
            pkts_sent=pkts_sent,
            pkts_recv=pkts_recv,
            latency=latency,
        )

    def plot(self) -> Figure:
        """Draw the session's latency, packets and bytes per second.

        The plot covers the time since the first packet, at least 10 and at most 300 seconds.

        Returns:
            A matplotlib figure that belongs to no window: `stats.plot().savefig("link.png")`.

        Raises:
            ImportError: matplotlib (the extra `plot`) is not installed.
        """
        return plot_seconds(
            {"round trip": self.latency},
            {"sent": self.pkts_sent, "received": self.pkts_recv},
            {"sent": self.bytes_sent, "received": self.bytes_recv},
        )


def plot_seconds(
    latency: Mapping[str, Sequence[float | None]],
    packets: Mapping[str, Sequence[int]],
    octets: Mapping[str, Sequence[int]],
) -> Figure:
    """Draw three charts, one below the other, of bins of a second of which the last is now.

    The seconds before the first one with a packet are omitted, down to `MIN_PLOT_SECONDS`.

    Parameters:
        latency: milliseconds, 0 or None where nothing was measured, by the label of a line.
        packets: counts, by the label of a line.
        octets: counts, by the label of a line.

    Returns:
        A figure that belongs to no window: `savefig` writes it.

    Raises:
        ImportError: matplotlib is not installed; the message names the extra.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is needed to plot: pip install matplotlib") from error
    shown = _seconds_shown([*latency.values(), *packets.values(), *octets.values()])
    figure = Figure(figsize=PLOT_SIZE, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    measured = {k: [v or math.nan for v in each[-shown:]] for k, each in latency.items()}
    _draw(top, "latency (ms)", measured)
    _draw(middle, "packets per second", {k: each[-shown:] for k, each in packets.items()})
    kilobytes = {k: [v / 1000 for v in each[-shown:]] for k, each in octets.items()}
    _draw(bottom, "kB per second", kilobytes)
    bottom.set_xlabel("seconds; the last is now")
    figure.align_ylabels()
    return figure


def _seconds_shown(bins: Sequence[Sequence[float | None]]) -> int:
    """Return the number of newest bins since the first in which anything happened."""
    seconds = len(bins[0])
    first = next((i for i, values in enumerate(zip(*bins, strict=True)) if any(values)), seconds)
    return min(seconds, max(seconds - first, MIN_PLOT_SECONDS))


def _draw(axes: Axes, title: str, lines: Mapping[str, Sequence[float]]) -> None:
    for name, values in lines.items():
        # A second without neighbours is no line: the dot shows it.
        axes.plot(range(1 - len(values), 1), values, ".-", markersize=3, linewidth=1, label=name)
    axes.set_ylabel(title)
    highest = max((v for values in lines.values() for v in values if v > 0), default=1)
    axes.set_ylim(0, _HEADROOM * highest)
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(lines), frameon=False)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` per cent of them do not exceed.

    This is the nearest-rank definition: the result is always one of the values. Raises ValueError
    if there are none, or unless 0 < percent <= 100.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and at most 100, not {percent!r}")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
