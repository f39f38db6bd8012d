"""Draws what `kinds` has run: a row for each kind of channel, all over the same datagrams."""

from __future__ import annotations

from kinds import KINDS, SECONDS, Flight, Run
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SENT, HANDLED = 1.0, 0.0
# Told apart by the colour-blind, too.
COLORS = {
    "1": "#0072B2",
    "2": "#D55E00",
    "3": "#009E73",
    "4": "#AA4499",
    "5": "#B07C00",
    "6": "#222222",
}
LANE = "#888888"
LOST_AT = 0.55
"""Share of its way over which a lost datagram is drawn."""
LATENCY = 0.04
CLOSE = 0.017
"""Seconds between the marks of messages that come together."""
LEGEND = (
    "\N{MULTIPLICATION X} lost     "
    "\N{BLACK CIRCLE} the game gets it     "
    "\N{WHITE CIRCLE} dropped: late, or there before     "
    "\N{BLACK RECTANGLE} waits for the one before"
)
SAYS = {
    "ordered": "every one, in order:\n3 waits for 2",
    "latest": "what is lost is sent again\nunless there is a newer one",
    "sequenced": "each is sent once, and\ndropped if it is late",
    "unordered": "every one,\nas it arrives",
}


def draw_flight(axes: Axes, flight: Flight, texts: list[str]) -> None:
    """A datagram as an arrow, or to a cross half-way, with the messages of a kind above it."""
    line = {"color": COLORS[texts[0]], "linewidth": 1.6, "zorder": 3}
    if flight.arrived is None:
        stop = flight.left + LATENCY * LOST_AT, SENT + (HANDLED - SENT) * LOST_AT
        axes.plot([flight.left, stop[0]], [SENT, stop[1]], solid_capstyle="butt", **line)
        axes.plot(*stop, marker="x", markersize=8, markeredgewidth=2, zorder=4, color=line["color"])
    else:
        arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 3, "mutation_scale": 9} | line
        axes.annotate("", (flight.arrived, HANDLED), (flight.left, SENT), arrowprops=arrow)
    for number, text in enumerate(texts):
        place = {"ha": "center", "va": "bottom", "color": COLORS[text], "fontsize": 9}
        axes.text(flight.left + CLOSE * number, SENT + 0.07, text, **place)


def draw_row(axes: Axes, kind: str, told: Run) -> None:
    """The messages that are sent and handled on a channel of a kind."""
    for height in (SENT, HANDLED):
        axes.plot([-0.02, SECONDS], [height, height], color=LANE, linewidth=1.2, zorder=2)
    for flight in told.flights:
        if kind in flight.messages:
            draw_flight(axes, flight, flight.messages[kind])
    arrived: dict[str, float] = {}
    handled = dict(told.handled[kind])
    for when, text, place in arrivals(told, kind):
        if text in arrived or text not in handled:
            style = {"markerfacecolor": "white", "color": COLORS[text], "zorder": 5}
            axes.plot(place, HANDLED, marker="o", **style)
        arrived.setdefault(text, when)
    draw_handled(axes, told.handled[kind], arrived)


def arrivals(told: Run, kind: str) -> list[tuple[float, str, float]]:
    """The times at which messages arrive, copies included, with the places of their marks."""
    return sorted(
        (flight.arrived, text, flight.arrived + CLOSE * number)
        for flight in told.flights
        if flight.arrived is not None
        for number, text in enumerate(flight.messages.get(kind, []))
    )


def draw_handled(axes: Axes, handled: list[tuple[str, float]], arrived: dict[str, float]) -> None:
    """The messages that the game gets: a dot each time, with those that come together below."""
    before, place = -1.0, 0.0
    for text, when in handled:
        if when > arrived[text]:
            wait = {"color": COLORS[text], "linewidth": 5, "alpha": 0.45, "zorder": 1}
            axes.plot([arrived[text], when], [HANDLED, HANDLED], solid_capstyle="butt", **wait)
        if when != before:
            axes.plot(when, HANDLED, marker="o", color=COLORS[text], markersize=8, zorder=6)
        before, place = when, place + CLOSE if when == before else when
        style = {"ha": "center", "va": "top", "color": COLORS[text], "fontweight": "bold"}
        axes.text(place, HANDLED - 0.17, text, **style)


def draw_kinds(told: Run) -> Figure:
    """All kinds, one below the other, at the same times."""
    figure = Figure(figsize=(9.2, 6.4), layout="constrained")
    rows = figure.subplots(len(KINDS), 1, sharex=True)
    for axes, kind in zip(rows, KINDS, strict=True):
        draw_row(axes, kind, told)
        axes.text(-0.31, 0.72, kind, va="center", fontweight="bold", fontsize=11)
        axes.text(-0.31, 0.2, SAYS[kind], va="center", fontsize=8)
        axes.text(-0.03, SENT, "sent", ha="right", va="center", fontsize=8)
        axes.text(-0.03, HANDLED, "game", ha="right", va="center", fontsize=8)
        axes.set_xlim(-0.32, SECONDS)
        axes.set_ylim(HANDLED - 0.5, SENT + 0.4)
        axes.set_yticks([])
        for side in ("left", "right", "top", "bottom"):
            axes.spines[side].set_visible(side == "bottom" and kind == "unordered")
        axes.tick_params(bottom=kind == "unordered")
    rows[-1].set_xticks([tenth / 10 for tenth in range(0, round(SECONDS * 10) + 1, 2)])
    rows[-1].set_xlabel("seconds")
    figure.supxlabel(LEGEND, fontsize=9)
    return figure
