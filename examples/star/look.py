"""Colours and texts that both windows share."""

from __future__ import annotations

from mpgameserver import UdpClient
from star.linkmeter import LinkFigures
from star.protocol import Score

Colour = tuple[int, int, int]

BACKGROUND: Colour = (18, 22, 34)
GRID: Colour = (30, 37, 54)
PANEL: Colour = (10, 12, 20)
TEXT: Colour = (214, 221, 235)
FAINT: Colour = (132, 143, 168)
STAR: Colour = (255, 209, 82)
PLAYERS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 97, 75),
    (92, 201, 138),
    (204, 121, 217),
    (240, 160, 60),
    (64, 200, 200),
    (245, 132, 170),
    (170, 180, 90),
)
GRID_STEP = 50
STAR_INNER = 0.45
"""The inner corners of the star, as a share of the outer ones' distance from the centre."""
PANEL_ALPHA = 190
HINT = "arrows: move    Esc: leave    ring: where the newest packet has the other one"


def colour_of(number: int) -> Colour:
    """The colour of a player."""
    return PLAYERS[(number - 1) % len(PLAYERS)]


def score_lines(scores: tuple[Score, ...], own: int) -> list[str]:
    """The scoreboard: a line for each player."""
    return [
        f"{line.points:3}  {line.name or 'nobody'}{' (you)' if line.number == own else ''}"
        for line in scores
    ]


def link_lines(figures: LinkFigures, latency: float) -> list[str]:
    """The overlay with what the link does; `latency` is in seconds."""
    return [
        f"round trip {latency * 1000:.0f} ms",
        f"lost {figures.lost_up:.0%} up, {figures.lost_down:.0%} down",
        f"sent {figures.packets_sent} packets/s, {figures.bytes_sent / 1000:.1f} kB/s",
        f"received {figures.packets_received} packets/s, {figures.bytes_received / 1000:.1f} kB/s",
    ]


def banner(client: UdpClient) -> str:
    """Return the text for the middle of the window; empty while all is well."""
    if client.connected():
        return ""
    if client.failure is not None:
        return client.failure.text
    return client.status().name.lower()
