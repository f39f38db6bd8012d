"""The game as one player's computer has it: no socket, no clock and no drawing.

game.receive(message)              what came
game.set_clock(now, time, trip)    the server's clock
game.advance(now, direction)       what to send
game.view(now)                     what to draw
"""

from __future__ import annotations

from dataclasses import dataclass

from star.interpolation import Timeline
from star.linkmeter import LinkMeter
from star.prediction import Prediction
from star.protocol import Join, Score, Scores, Snapshot, Welcome, decode
from star.rules import Direction, Place


@dataclass(frozen=True)
class View:
    """Everything to draw, with its position."""

    number: int
    """The own player's; 0 before it has joined."""
    players: dict[int, Place]
    heard: dict[int, Place]
    """Positions of the others in the newest snapshot: later than they are drawn, and in leaps."""
    star: Place | None
    scores: tuple[Score, ...]


class Game:
    """One player's side of a game."""

    def __init__(self, name: str) -> None:
        self.link = LinkMeter()
        self._name = name
        self._number = 0
        self._scores = Scores(0, ())
        self._timeline = Timeline()
        self._own = Prediction()

    def join(self) -> bytes:
        """Return the message to send, reliably, as soon as the client is connected."""
        return Join(self._name).encode()

    def receive(self, message: bytes) -> None:
        """Take a message of the server. ValueError if it is none."""
        match decode(message):
            case Welcome(number):
                self._number = number
            case Scores() as scores if scores.version > self._scores.version:
                self._scores = scores
            case Snapshot() as snapshot:
                self._take(snapshot)

    def set_clock(self, now: float, server_time: float, trip: float) -> None:
        """Note the server's time now, and the seconds that its messages are on their way."""
        self._timeline.set_clock(now, server_time, trip)

    def advance(self, now: float, direction: Direction) -> bytes | None:
        """Make the own player's steps; what to send, unreliably, if anything."""
        self._own.advance(now, direction)
        moves = self._own.moves()
        return None if moves is None else moves.encode()

    def view(self, now: float) -> View:
        """Return what to draw: your own player as it is, all else as it was a moment ago."""
        seen, newest = self._timeline.seen(now), self._timeline.newest
        if seen is None or newest is None:
            return View(self._number, {}, {}, None, self._scores.lines)
        players, heard = dict(seen.places), dict(newest.places)
        own = self._own.place(now)
        if own is not None:
            players[self._number] = own
            heard.pop(self._number, None)
        star = players.get(seen.holder, seen.star)
        return View(self._number, players, heard, star, self._scores.lines)

    def _take(self, snapshot: Snapshot) -> None:
        self.link.note_snapshot(snapshot.tick)
        self._timeline.add(snapshot)
        own = snapshot.places.get(self._number)
        if own is not None:
            self._own.correct(snapshot.tick, own, snapshot.newest_step)
