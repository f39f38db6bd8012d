"""Draws the pictures of the documentation: `make pictures`.

What they show has happened. The timelines and the plot are of two connections that talk over the
package's seeded link in virtual time (`talks`); each timeline carries its times as its description,
and the tests hold them against a new run, as well as the picture of the channels (`kinds`). The
players of the star examples (`starplayers`, `starpyglet`) are in virtual time, too. The terminals
(`terminal`) show the demo, the monitor and the examples (`exampleruns`) in real time, so their
numbers differ a little each time that they are drawn.
"""

from __future__ import annotations

from pathlib import Path

import drawkinds
import exampleruns
import kinds
import matplotlib as mpl
import pygame
import starplayers
import starpyglet
import terminal
import watched
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from talks import MESSAGES, SECONDS, Flight, Talk, play_for, talk

from mpgameserver import RetryMode

HERE = Path(__file__).resolve().parent
CLIENT, SERVER = 1.0, 0.0
COLORS = {"A": "#0072B2", "B": "#D55E00", "C": "#009E73"}  # told apart by the colour-blind, too
QUIET, LANE = "#c4c8cc", "#222222"
DEMO = "mpgameserver demo --seed 7"
MONITOR = "mpgameserver monitor 127.0.0.1:1475 --key monitor.pem"
LOST_AT = 0.55
"""Share of its way over which a lost datagram is drawn."""
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "mpgameserver",
}


def draw_flight(axes: Axes, flight: Flight, latency: float) -> None:
    """A datagram as an arrow from one side to the other, or to a cross half-way."""
    start, end = (CLIENT, SERVER) if flight.is_up else (SERVER, CLIENT)
    carries = bool(flight.messages)
    color = COLORS[flight.messages[0]] if carries else QUIET
    line = {"color": color, "linewidth": 1.8 if carries else 0.7, "zorder": 3 if carries else 1}
    if flight.arrived is None:
        stop = flight.left + latency * LOST_AT, start + (end - start) * LOST_AT
        axes.plot([flight.left, stop[0]], [start, stop[1]], solid_capstyle="butt", **line)
        axes.plot(*stop, marker="x", color=color, markersize=8 if carries else 4, zorder=4)
    else:
        arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9} | line
        axes.annotate("", (flight.arrived, end), (flight.left, start), arrowprops=arrow)
    for number, text in enumerate(flight.messages):
        place = {"ha": "center", "va": "bottom", "color": COLORS[text], "fontsize": 9}
        axes.text(flight.left + 0.018 * number, CLIENT + 0.06, text, **place)


def draw_lane(axes: Axes, height: float, name: str) -> None:
    """The line of one side."""
    axes.plot([0, SECONDS], [height, height], color=LANE, linewidth=1.4, zorder=2)
    axes.text(-0.015, height, name, ha="right", va="center", fontweight="bold")


def draw_ends(axes: Axes, told: Talk) -> None:
    """When the server was given each message, and what the client's callbacks were told."""
    for text, when in told.handled.items():
        axes.plot(when, SERVER, marker="o", color=COLORS[text], markersize=8, zorder=5)
        place = {"ha": "center", "va": "top", "color": COLORS[text], "fontweight": "bold"}
        axes.text(when, SERVER - 0.13, text, **place)
    for text, (when, acked) in told.callbacks.items():
        axes.plot([when, when], [CLIENT, CLIENT + 0.36], color=COLORS[text], linewidth=0.8)
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": COLORS[text]}
        place = {"ha": "center", "va": "center", "color": COLORS[text], "fontsize": 9}
        axes.text(when, CLIENT + 0.42, f"{text}: {acked}", bbox=box, zorder=6, **place)


def draw_talk(told: Talk, latency: float) -> Figure:
    """A talk as a timeline: the client above, the server below, datagrams between them."""
    figure = Figure(figsize=(9.2, 2.9), layout="constrained")
    axes = figure.subplots()
    for flight in told.flights:
        draw_flight(axes, flight, latency)
    draw_lane(axes, CLIENT, "client")
    draw_lane(axes, SERVER, "server")
    draw_ends(axes, told)
    axes.text(-0.015, CLIENT + 0.42, "callbacks", ha="right", va="center", fontsize=9)
    axes.text(-0.015, SERVER - 0.2, "handled", ha="right", va="center", fontsize=9)
    axes.set_xlim(-0.12, SECONDS)
    axes.set_ylim(SERVER - 0.35, CLIENT + 0.6)
    axes.set_xticks([tenth / 10 for tenth in range(0, round(SECONDS * 10), 2)])
    axes.set_xlabel("seconds")
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    return figure


def save(figure: Figure, name: str, description: str) -> None:
    """Write a picture that is the same each time."""
    metadata = {"Date": None, "Creator": None, "Description": description}
    figure.savefig(HERE / name, metadata=metadata)


def draw_terminals() -> None:
    """The demo, with the link that the same seed gives, and the monitor, in each size."""
    for size in terminal.SIZES:
        draw_command("demo", DEMO, DEMO, size)
        with watched.server() as arguments:
            draw_command("monitor", MONITOR, f"mpgameserver monitor {arguments}", size)


def draw_command(name: str, shown: str, command: str, size: tuple[int, int]) -> None:
    """The output of a command on a terminal of a size, below the command that a reader types."""
    screen = terminal.last_screen(terminal.run(command, size))
    svg = terminal.draw([(shown, screen)], size[0])
    (HERE / f"{name}-{size[0]}.svg").write_text(svg)


def draw_examples() -> None:
    """The terminal programs of the examples."""
    for name, (run, columns) in exampleruns.RUNS.items():
        (HERE / f"{name}.svg").write_text(terminal.draw(run(), columns))


def main() -> None:
    """Draw all of them."""
    draw_terminals()
    draw_examples()
    pygame.image.save(starplayers.draw(starplayers.play()), HERE / "star.png")
    pygame.image.save(starpyglet.picture(), HERE / "star_pyglet.png")
    with mpl.rc_context(STYLE):
        for mode in RetryMode:
            told = talk(mode)
            latency = min(f.arrived - f.left for f in told.flights if f.arrived is not None)
            assert set(told.callbacks) == set(MESSAGES)
            name = f"{mode.name.lower().replace('_', '-')}.svg"
            save(draw_talk(told, latency), name, told.to_json())
        run = kinds.run()
        save(drawkinds.draw_kinds(run), "channel-kinds.svg", run.to_json())
    play_for(300.0).plot().savefig(HERE / "stats-plot.png", dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
