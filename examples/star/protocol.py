"""The messages between client and server, as bytes.

State (`Moves`, `Snapshot`) is sent unreliably and has a number: it may be lost, and it may come
late. What has to arrive (`Join`, `Welcome`, `Scores`) is sent reliably; it arrives once, but in
any order, so the scores have a number, too.

`decode` raises ValueError, and nothing else, for bytes that are not a message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from star.rules import Direction, Place

TICKS_PER_SNAPSHOT = 3
"""20 snapshots a second."""
MAX_PLAYERS = 8
"""So that a snapshot always fits in a datagram."""
MAX_NAME_BYTES = 16
MAX_STEPS = 32
"""In one message: half a second of them, which covers any loss that a game survives."""

_MOVES = struct.Struct("!cI")
_WELCOME = struct.Struct("!cB")
_SCORES = struct.Struct("!cI")
_SCORE = struct.Struct("!BHB")
_SNAPSHOT = struct.Struct("!cIdIBff")
_PLAYER = struct.Struct("!Bff")


@dataclass(frozen=True)
class Join:
    """Client to server, reliable: let me play."""

    name: str

    def encode(self) -> bytes:
        """The message as bytes."""
        return b"J" + _name_bytes(self.name)

    @classmethod
    def decode(cls, data: bytes) -> Join:
        """The message that the bytes are."""
        return cls(_name(data[1:]))


@dataclass(frozen=True)
class Moves:
    """Client to server: the steps that the server is not known to have; the first has a number.

    Each goes along until a snapshot says that the server has it, so one that gets lost costs
    nothing but its bytes.
    """

    first: int
    steps: tuple[Direction, ...]

    def encode(self) -> bytes:
        """The message as bytes: one for each step."""
        return _MOVES.pack(b"M", self.first) + bytes(3 * x + y + 4 for x, y in self.steps)

    @classmethod
    def decode(cls, data: bytes) -> Moves:
        """The message that the bytes are."""
        _, first = _MOVES.unpack(data[: _MOVES.size])
        steps = data[_MOVES.size :]
        if len(steps) > MAX_STEPS or any(step > 8 for step in steps):
            raise ValueError(f"no steps: {steps!r}")
        return cls(first, tuple((step // 3 - 1, step % 3 - 1) for step in steps))


@dataclass(frozen=True)
class Welcome:
    """Server to client, reliable: you play, and this is your number."""

    number: int

    def encode(self) -> bytes:
        """The message as bytes."""
        return _WELCOME.pack(b"W", self.number)

    @classmethod
    def decode(cls, data: bytes) -> Welcome:
        """The message that the bytes are."""
        _, number = _WELCOME.unpack(data)
        return cls(number)


@dataclass(frozen=True)
class Score:
    """A line of the scoreboard."""

    number: int
    name: str
    points: int


@dataclass(frozen=True)
class Scores:
    """Server to client, reliable: the scoreboard. The higher version is the newer one."""

    version: int
    lines: tuple[Score, ...]

    def encode(self) -> bytes:
        """The message as bytes."""
        return _SCORES.pack(b"S", self.version) + b"".join(map(_score_bytes, self.lines))

    @classmethod
    def decode(cls, data: bytes) -> Scores:
        """The message that the bytes are."""
        _, version = _SCORES.unpack(data[: _SCORES.size])
        lines, rest = [], data[_SCORES.size :]
        while rest:
            number, points, length = _SCORE.unpack(rest[: _SCORE.size])
            end = _SCORE.size + length
            lines.append(Score(number, _name(rest[_SCORE.size : end], length), points))
            rest = rest[end:]
        return cls(version, tuple(lines))


@dataclass(frozen=True)
class Snapshot:
    """Server to client: where everything is at a tick."""

    tick: int
    time: float
    """Of the tick, in seconds of the server's clock, which clients know as `server_time`."""
    newest_step: int
    """The number of the newest step of this client that is in it."""
    holder: int
    """The player who holds the star; 0 for nobody."""
    star: Place
    places: dict[int, Place]
    """Of the players, by number."""

    def encode(self) -> bytes:
        """The message as bytes."""
        what = self.tick, self.time, self.newest_step, self.holder
        head = _SNAPSHOT.pack(b"P", *what, *self.star)
        return head + b"".join(_PLAYER.pack(n, *place) for n, place in self.places.items())

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """The message that the bytes are."""
        _, tick, time, newest, holder, x, y = _SNAPSHOT.unpack(data[: _SNAPSHOT.size])
        players = _PLAYER.iter_unpack(data[_SNAPSHOT.size :])
        places = {number: (px, py) for number, px, py in players}
        return cls(tick, time, newest, holder, (x, y), places)


Message = Join | Moves | Welcome | Scores | Snapshot

_KINDS: dict[bytes, type[Message]] = {
    b"J": Join,
    b"M": Moves,
    b"W": Welcome,
    b"S": Scores,
    b"P": Snapshot,
}


def decode(data: bytes) -> Message:
    """The message that the bytes are. ValueError if they are none."""
    kind = _KINDS.get(data[:1])
    if kind is None:
        raise ValueError(f"no kind of message: {data[:1]!r}")
    try:
        return kind.decode(data)
    except struct.error as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


def scores(version: int, lines: Iterable[tuple[int, str, int]]) -> Scores:
    """A scoreboard of numbers, names and points, the most points first."""
    ordered = sorted((Score(*line) for line in lines), key=lambda line: (-line.points, line.number))
    return Scores(version, tuple(ordered))


def _name_bytes(name: str) -> bytes:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").encode()


def _name(data: bytes, length: int | None = None) -> str:
    """A name that can be shown; ValueError if it is too long, cut off, or no text."""
    name = data.decode()
    if len(data) > MAX_NAME_BYTES or (length is not None and len(data) != length):
        raise ValueError(f"no name: {data!r}")
    if not name.isprintable():
        raise ValueError(f"not printable: {name!r}")
    return name


def _score_bytes(line: Score) -> bytes:
    name = _name_bytes(line.name)
    return _SCORE.pack(line.number, min(line.points, 0xFFFF), len(name)) + name
