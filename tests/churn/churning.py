"""The churn: players and rooms on real sockets, and what must be as before when all have left.

It goes in rounds. In a round, players come and go and the servers are stopped and started; at its
end all players leave, both servers run, and a `Rest` is taken: what the process still holds. A
leak shows as a difference between one rest and the next.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import re
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from churn.player import Player
from churn.room import Room

from mpgameserver import EllipticCurvePrivateKey, ServerClient, UdpClient
from mpgameserver._core.datagrams import forget_addresses
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.endpoint2 import Endpoint2
from mpgameserver.client.connect import Attempt
from mpgameserver.connection import Connection
from mpgameserver.server.half_open import HalfOpenSession
from mpgameserver.server.half_open2 import HalfOpenSession2
from mpgameserver.server.sessions import Session
from mpgameserver.transport.sockets import ConnectedSocket

__all__ = ["Churn", "Rest"]

ROOMS = 2
FRAME = 1 / 60
REST_LIMIT = 20.0
"""Seconds within which all that the players leave behind must be gone, on a busy machine too."""
BUFFER = 64 * 1024
"""Bytes of the smallest buffer for one datagram. The package keeps a few of them from packet to
packet, taken when first needed: before the first rest or after it. `Rest.heap` has them."""
PLAYERS_PER_PORT = 2
"""Players per port of a router: so few that a port goes to somebody else before the server has
noticed that its last holder is gone."""

_LOG = logging.getLogger("mpgameserver")
_OF_SESSIONS = (
    Attempt,
    ConnectedSocket,
    Connection,
    Endpoint1,
    Endpoint2,
    HalfOpenSession,
    HalfOpenSession2,
    ServerClient,
    Session,
    UdpClient,
)
_TOKEN = re.compile(r"\b[12]\d{9}\b")
_SECRET = re.compile(r"PRIVATE KEY|\bb['\"]|\\x")


class Rest(NamedTuple):
    """The resources that the process holds while nobody is connected."""

    traced: int
    """Bytes that Python has allocated, but for buffers."""
    heap: int
    """Bytes that C code, OpenSSL's for one, has allocated; 0 where the C library does not say."""
    resident: int
    """Bytes of the process in memory; 0 where the system does not say."""
    files: int
    """Open file descriptors."""
    threads: int


class Churn:
    """`clients` players and two rooms; a context manager.

    `breaches` is empty as long as all is well.
    """

    def __init__(self, clients: int, seed: int) -> None:
        self.breaches: list[str] = []
        self.rests: list[Rest] = []
        self._before = _living()
        self._log = _Watch(self.breaches)
        key = EllipticCurvePrivateKey.new()
        self._rooms = [
            Room(key, clients // PLAYERS_PER_PORT, f"{seed}/room {i}", self.breaches)
            for i in range(ROOMS)
        ]
        # Some go to the server itself, the others through its router.
        doors = [door for room in self._rooms for door in (room.address, *[room.nat.address] * 3)]
        self._players = [
            Player(i, doors, key.getPublicKey(), f"{seed}", self.breaches) for i in range(clients)
        ]

    def __enter__(self) -> Churn:
        _LOG.addHandler(self._log)
        self._level = _LOG.level
        _LOG.setLevel(logging.DEBUG)
        _LOG.propagate = False  # pytest keeps what it hears: that would be the leak that is found
        tracemalloc.start()
        for room in self._rooms:
            room.restart()  # so that what a server holds is traced from the first one on
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A server that has failed raises when it is closed, and the rest is closed all the same.
        with contextlib.ExitStack() as stack:
            stack.callback(_LOG.removeHandler, self._log)
            stack.callback(setattr, _LOG, "propagate", True)
            stack.callback(_LOG.setLevel, self._level)
            stack.callback(tracemalloc.stop)
            for room in self._rooms:
                stack.callback(room.close)
            for player in self._players:
                stack.callback(player.quit)

    def run(self, seconds: float) -> None:
        """One round: churn for so long, then rest."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for room in self._rooms:
                room.turn(now)
            for player in self._players:
                player.frame(now)
            self._forward_until(now + FRAME)
        self._rest()

    def _forward_until(self, end: float) -> None:
        while True:
            for room in self._rooms:
                room.nat.forward()
            if (left := end - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.002))

    def _rest(self) -> None:
        """Have all players leave, and wait until nothing is left of them."""
        for player in self._players:
            player.quit()
        end = time.monotonic() + REST_LIMIT
        while left := self._left_behind():
            if time.monotonic() > end:
                self.breaches.append(f"left behind: {dict(left)}")
                break
            self._forward_until(time.monotonic() + 0.1)
        self._check_callbacks()
        self.rests.append(_rest())

    def _left_behind(self) -> Counter[str]:
        """Everything but the running rooms; "server" for one that cannot start yet."""
        down = sum(not room.start() for room in self._rooms)
        return _living() - self._before + Counter(server=down)

    def _check_callbacks(self) -> None:
        events = self.player_events
        if events["message"] != events["callback"]:
            self.breaches.append(f"{events['message']} messages, {events['callback']} callbacks")

    @property
    def player_events(self) -> Counter[str]:
        """The counts of the players."""
        return sum((player.events for player in self._players), Counter())

    @property
    def room_events(self) -> Counter[str]:
        """The counts of the servers."""
        return sum((room.events for room in self._rooms), Counter())

    @property
    def reasons(self) -> dict[str, int]:
        """The number of sessions that ended, by `DisconnectReason`."""
        rooms = [room.reasons() for room in self._rooms]
        return {reason: sum(room[reason] for room in rooms) for reason in rooms[0]}

    def report(self) -> str:
        """The figures, as text."""
        players, rooms = self.player_events, self.room_events
        ports = sum(room.nat.handed_on for room in self._rooms)
        lines = [
            f"connected {players['connected']} times, {rooms['stop']} stops and "
            f"{rooms['crash']} crashes of a server, {ports} ports handed on",
            f"messages: {players['message']} sent, {rooms['message']} arrived, "
            f"{players['answer']} answers heard",
            "ended: " + ", ".join(f"{n} {reason}" for reason, n in self.reasons.items()),
            f"log: {self._log.lines} lines, {self._log.errors} errors",
            " rest    traced kB      heap kB  resident kB  files  threads",
        ]
        lines += [
            f"{i:5} {rest.traced / 1e3:12,.0f} {rest.heap / 1e3:12,.0f}"
            f" {rest.resident / 1e3:12,.0f} {rest.files:6} {rest.threads:8}"
            for i, rest in enumerate(self.rests, 1)
        ]
        return "\n".join(lines)


class _Watch(logging.Handler):
    """Counts what the package logs; errors are breaches, and so are keys and tokens in a line."""

    def __init__(self, breaches: list[str]) -> None:
        super().__init__()
        self.lines = self.errors = 0
        self._breaches = breaches

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self.errors += 1
            self._breaches.append(f"logged: {text}")
        if _TOKEN.search(text) or _SECRET.search(text):
            self._breaches.append(f"a token or a key in the log: {text}")


def _living() -> Counter[str]:
    """The number of objects that belong to sessions, by type."""
    gc.collect()
    return Counter(
        type(thing).__name__ for thing in gc.get_objects() if type(thing) in _OF_SESSIONS
    )


def _rest() -> Rest:
    forget_addresses()  # they are bounded, and no part of a session
    gc.collect()
    return Rest(
        _traced(),
        _heap(),
        _resident(),
        _open_files(),
        threading.active_count(),
    )


def _traced() -> int:
    return sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.size < BUFFER)


class _Mallinfo2(ctypes.Structure):
    """The structure of that name in glibc's malloc.h: the 8th field is what is in use."""

    _fields_ = (
        ("before", ctypes.c_size_t * 7),
        ("in_use", ctypes.c_size_t),
        ("behind", ctypes.c_size_t * 2),
    )


def _heap() -> int:
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (AttributeError, TypeError, OSError):  # glibc has it since 2.33
        return 0
    mallinfo.restype = _Mallinfo2
    return int(mallinfo().in_use)


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0
