"""The rules: where players may go, who holds the star, and who has a point.

No network, no clock and no drawing: the server plays by them tick by tick, and a client uses
`moved` to guess where its own player is going to be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

WIDTH, HEIGHT = 800.0, 600.0
RADIUS = 14.0
"""Of a player, and of the star."""
TICK = 1 / 60
"""Seconds."""
STEP = 4.0
"""The distance that a player moves in a tick."""
TICKS_PER_POINT = 60
"""The time to hold the star for a point."""
SAFE_TICKS = 45
"""The time in which nobody can take the star from a player who has just got it."""
MAX_STEPS_SAVED = 15
"""Steps that a player may make at once: what is held up on the way for a quarter of a second comes
in a heap. Who sends more steps than there are ticks gains nothing by it."""

Place = tuple[float, float]
Direction = tuple[int, int]
"""-1, 0 or 1 on each axis; y points down."""


def moved(place: Place, direction: Direction) -> Place:
    """Return a player's position after one step, at most at the edge of the field."""
    x, y = direction
    length = math.hypot(x, y) or 1.0
    return (
        min(max(place[0] + STEP * x / length, RADIUS), WIDTH - RADIUS),
        min(max(place[1] + STEP * y / length, RADIUS), HEIGHT - RADIUS),
    )


def between(start: Place, end: Place, part: float) -> Place:
    """The place that is so far on the straight way from one to another, from 0 to 1."""
    return (start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1]))


@dataclass
class Player:
    """One who plays."""

    name: str
    place: Place
    ticks_held: int = 0
    steps_saved: int = 0

    @property
    def points(self) -> int:
        """One for each second with the star."""
        return self.ticks_held // TICKS_PER_POINT


@dataclass
class Arena:
    """The state of a game, in which each player has a number above 0."""

    tick: int = 0
    players: dict[int, Player] = field(default_factory=dict)
    star: Place = (WIDTH / 2, HEIGHT / 2)
    holder: int = 0
    """The number of who holds the star; 0: nobody."""
    _safe_until: int = 0

    def join(self, number: int, name: str) -> None:
        """Let a player in, at one of four places in turn."""
        x = WIDTH * (0.2 if number % 2 else 0.8)
        y = HEIGHT * (0.25 if number % 4 < 2 else 0.75)
        self.players[number] = Player(name, (x, y))

    def leave(self, number: int) -> None:
        """Take a player out; the star stays where it was held."""
        del self.players[number]
        if self.holder == number:
            self.holder = 0

    def step(self, number: int, direction: Direction) -> None:
        """Move a player by one step, if it has one left."""
        player = self.players[number]
        if player.steps_saved > 0:
            player.steps_saved -= 1
            player.place = moved(player.place, direction)

    def advance(self) -> bool:
        """Let a tick pass; True if the scores have changed."""
        self.tick += 1
        for player in self.players.values():
            player.steps_saved = min(player.steps_saved + 1, MAX_STEPS_SAVED)
        self._hand_over()
        if not self.holder:
            return False
        holder = self.players[self.holder]
        self.star = holder.place
        holder.ticks_held += 1
        return holder.ticks_held % TICKS_PER_POINT == 0

    def _hand_over(self) -> None:
        """Give the star to the nearest of the others, if that one touches it."""
        if self.holder:
            self.star = self.players[self.holder].place
        if self.tick < self._safe_until:
            return
        others = [
            (math.dist(player.place, self.star), number)
            for number, player in self.players.items()
            if number != self.holder
        ]
        distance, nearest = min(others, default=(math.inf, 0))
        if distance < 2 * RADIUS:
            self.holder = nearest
            self._safe_until = self.tick + SAFE_TICKS
