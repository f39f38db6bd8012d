"""Prediction of your own player's position, before the server has confirmed it.

A step is made at once, and remembered until a snapshot has it. Each snapshot puts the player where
the server has it, and the steps that it does not know yet are made again from there. On a good
day that changes nothing; where the server saw it differently, the player is put right.
"""

from __future__ import annotations

from collections import deque

from star.protocol import MAX_STEPS, Moves
from star.rules import TICK, Direction, Place, between, moved

MAX_STEPS_AT_ONCE = 15
"""After a pause that is longer, as of a window that was moved, the time in between is left out."""


class Prediction:
    """The own player's place, and the steps that the server is not known to have."""

    def __init__(self) -> None:
        self._place: Place | None = None
        self._before: Place | None = None
        self._next_step = 0.0
        self._number = 0
        self._tick = -1
        self._steps: deque[Direction] = deque(maxlen=MAX_STEPS)

    def advance(self, now: float, direction: Direction) -> None:
        """Make the steps that are due, whatever the number of frames per second."""
        if now - self._next_step > MAX_STEPS_AT_ONCE * TICK:
            self._next_step = now
        while self._next_step <= now:
            self._next_step += TICK
            self._step(direction)

    def correct(self, tick: int, place: Place, newest_step: int) -> None:
        """Take the place from a snapshot, unless a newer one was there before."""
        if tick <= self._tick:
            return
        self._tick = tick
        while self._steps and self._number - len(self._steps) < newest_step:
            self._steps.popleft()
        self._before = self._place = place
        for direction in self._steps:
            self._before, place = place, moved(place, direction)
            self._place = place

    def moves(self) -> Moves | None:
        """Return the message to send: all steps that the server is not known to have."""
        if not self._steps:
            return None
        return Moves(self._number - len(self._steps) + 1, tuple(self._steps))

    def place(self, now: float) -> Place | None:
        """The place between the last two steps; None before the first snapshot."""
        if self._before is None or self._place is None:
            return None
        part = 1.0 - (self._next_step - now) / TICK
        return between(self._before, self._place, min(max(part, 0.0), 1.0))

    def _step(self, direction: Direction) -> None:
        if self._place is not None:
            self._number += 1
            self._steps.append(direction)
            self._before, self._place = self._place, moved(self._place, direction)
