"""The rooms: their members, and the lines to deliver. There is no network code here.

A member is whatever stands for somebody: on the server a client, in a test a name. What a call
returns are deliveries: pairs of a member and a line that is to be told to it, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from chat.wire import NOBODY, Kind, Line, Request, Verb

M = TypeVar("M", bound=Hashable)
Deliveries = list[tuple[M, Line]]

HISTORY = 20
"""Lines of a room that a newcomer is told."""
MAX_ROOMS = 256
"""Rooms that are remembered; then the one that was empty for longest makes room for a new one."""

MAX_NAMED = 40
"""Nicknames in one line: the longest ones fit into it."""


@dataclass
class Room(Generic[M]):
    """The members of a room, and what was said in it last."""

    name: str
    members: dict[M, None] = field(default_factory=dict)
    history: deque[Line] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def tell(self, kind: Kind, nick: str, text: str) -> Deliveries[M]:
        """The same line for everybody."""
        line = Line(kind, self.name, nick, text)
        return [(member, line) for member in self.members]


class Rooms(Generic[M]):
    """All rooms of a server; a member is in one of them, or in none yet."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room[M]] = {}
        self._nicks: dict[M, str] = {}
        self._room_of: dict[M, Room[M]] = {}
        self._guests = count(1)

    def remember(self, lines: Iterable[Line]) -> None:
        """Take what was said before, oldest first, as the history of its rooms."""
        for line in lines:
            room = self._open(line.room)
            if room is not None:
                room.history.append(line)

    def enter(self, member: M) -> Deliveries[M]:
        """Somebody has come, and gets a nickname."""
        self._nicks[member] = next(
            guest for guest in map("guest-{}".format, self._guests) if not self._is_taken(guest)
        )
        return [self._notice(member, f"you are {self._nicks[member]}")]

    def do(self, member: M, request: Request) -> Deliveries[M]:
        """Do what a member asks for."""
        if request.verb is Verb.NICK:
            return self._rename(member, request.text)
        if request.verb is Verb.JOIN:
            return self._join(member, request.text)
        room = self._room_of.get(member)
        if room is None:
            return [self._refusal(member, "join a room first")]
        if request.verb is Verb.WHO:
            return [self._notice(member, self._present(room))]
        told = room.tell(Kind.SAID, self._nicks[member], request.text)
        room.history.append(told[0][1])
        return told

    def leave(self, member: M) -> Deliveries[M]:
        """Somebody is gone."""
        told = self._leave_room(member)
        del self._nicks[member]
        return told

    def _is_taken(self, nick: str) -> bool:
        return nick.lower() in {other.lower() for other in self._nicks.values()}

    def _rename(self, member: M, nick: str) -> Deliveries[M]:
        before, room = self._nicks[member], self._room_of.get(member)
        if self._is_taken(nick) and nick.lower() != before.lower():
            return [self._refusal(member, f"{nick} is taken: you are {before}")]
        self._nicks[member] = nick
        if room is None:
            return [self._notice(member, f"you are {nick}")]
        return room.tell(Kind.NOTICE, NOBODY, f"{before} is now {nick}")

    def _join(self, member: M, name: str) -> Deliveries[M]:
        room = self._open(name)
        if room is None:
            return [self._refusal(member, "there are too many rooms")]
        if room is self._room_of.get(member):
            return [self._refusal(member, f"you are in {name}")]
        told = self._leave_room(member)
        told += room.tell(Kind.NOTICE, NOBODY, f"{self._nicks[member]} has joined")
        room.members[member] = None
        self._room_of[member] = room
        told += [(member, line) for line in room.history]
        return [*told, self._notice(member, self._present(room))]

    def _leave_room(self, member: M) -> Deliveries[M]:
        room = self._room_of.pop(member, None)
        if room is None:
            return []
        del room.members[member]
        if not room.members:  # from now on it is the one that was empty for the shortest time
            self._rooms[room.name] = self._rooms.pop(room.name)
        return room.tell(Kind.NOTICE, NOBODY, f"{self._nicks[member]} has left")

    def _open(self, name: str) -> Room[M] | None:
        """The room of that name; None when it would be one too many."""
        if name in self._rooms:
            return self._rooms[name]
        if len(self._rooms) >= MAX_ROOMS:
            empty = next((room for room in self._rooms.values() if not room.members), None)
            if empty is None:
                return None
            del self._rooms[empty.name]
        self._rooms[name] = Room(name)
        return self._rooms[name]

    def _present(self, room: Room[M]) -> str:
        nicks = [self._nicks[member] for member in room.members]
        more = len(nicks) - MAX_NAMED
        return "here: " + ", ".join(nicks[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")

    def _notice(self, member: M, text: str) -> tuple[M, Line]:
        return member, Line(Kind.NOTICE, self._place(member), NOBODY, text)

    def _refusal(self, member: M, text: str) -> tuple[M, Line]:
        return member, Line(Kind.REFUSED, self._place(member), NOBODY, text)

    def _place(self, member: M) -> str:
        room = self._room_of.get(member)
        return NOBODY if room is None else room.name
