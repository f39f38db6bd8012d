"""The figures per second of a connection, drawn with matplotlib: the extra `plot`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_seconds"]

SIZE = (8.0, 7.0)
"""Inches."""
MIN_SECONDS = 10
"""The shortest time that is drawn, so that the first second of a session is no line by itself."""
_HEADROOM = 1.1


def plot_seconds(
    latency: Sequence[int],
    packets: Mapping[str, Sequence[int]],
    octets: Mapping[str, Sequence[int]],
) -> Figure:
    """Three charts, one below the other, of bins of a second of which the last is now.

    The seconds before the first one with a packet are left out, but for `MIN_SECONDS`.

    `latency` is in milliseconds, 0 where nothing was measured; `packets` and `octets` are counts,
    by the name that a line is to have. The figure belongs to no window: `savefig` writes it.

    Raises ImportError, which names the extra, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("matplotlib is needed to plot: pip install matplotlib") from error
    shown = _seconds_shown([latency, *packets.values(), *octets.values()])
    figure = Figure(figsize=SIZE, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    measured = [value if value else math.nan for value in latency[-shown:]]
    _draw(top, "latency (ms)", {"round trip": measured})
    _draw(middle, "packets per second", {k: each[-shown:] for k, each in packets.items()})
    kilobytes = {k: [v / 1000 for v in each[-shown:]] for k, each in octets.items()}
    _draw(bottom, "kB per second", kilobytes)
    bottom.set_xlabel("seconds; the last is now")
    figure.align_ylabels()
    return figure


def _seconds_shown(bins: Sequence[Sequence[int]]) -> int:
    """How many of the newest bins there are since the first in which anything happened."""
    seconds = len(bins[0])
    first = next((i for i, values in enumerate(zip(*bins, strict=True)) if any(values)), seconds)
    return min(seconds, max(seconds - first, MIN_SECONDS))


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
