"""The figures per second of a connection, drawn with matplotlib: the extra `mpgameserver[plot]`."""

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
_HEADROOM = 1.1


def plot_seconds(
    latency: Sequence[int],
    packets: Mapping[str, Sequence[int]],
    octets: Mapping[str, Sequence[int]],
) -> Figure:
    """Three charts, one below the other, of bins of a second of which the last is now.

    `latency` is in milliseconds, 0 where nothing was measured; `packets` and `octets` are counts,
    by the name that a line is to have. The figure belongs to no window: `savefig` writes it.

    Raises ImportError, which names the extra, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "matplotlib is needed to plot: pip install 'mpgameserver[plot]'"
        ) from error
    figure = Figure(figsize=SIZE, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    measured = [value if value else math.nan for value in latency]
    _draw(top, "latency (ms)", {"round trip": measured})
    _draw(middle, "packets per second", packets)
    _draw(bottom, "kB per second", {k: [v / 1000 for v in each] for k, each in octets.items()})
    bottom.set_xlabel("seconds; the last is now")
    figure.align_ylabels()
    return figure


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
