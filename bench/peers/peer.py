"""Shared by the programs beside this one: two commands, and the counting.

    PROGRAM server [USE]                              prints {"port": ..., "key": ...} when it is up
    PROGRAM echo PORT KEY OUTSTANDING SECONDS WAIT    prints {"rate": ..., "p50": ..., "p99": ...}
    PROGRAM bulk PORT KEY BYTES                       prints {"seconds": ..., ...}
    PROGRAM stream PORT KEY SECONDS                   prints {"seconds": ..., "datagrams": ..., ...}
    PROGRAM window PORT KEY OUTSTANDING SECONDS       prints {"rate": ..., ...}
    PROGRAM crowd WHAT PORT KEY BOTS SECONDS PID      what `load` says of it

The server runs on one core and the client on another. It echoes every message until one begins
with `BULK`, followed by a number of bytes: it then answers `DONE` when so many have arrived in
messages that begin with neither. A message that begins with `COUNTED` is answered `TAKEN`, both
reliably. With a USE it is for a crowd and only echoes: "crowd" for one that
plays, "idle" for one that only keeps alive, "single" for one bot, where room is made in advance.
WAIT is "sleep", until something can be read, or "spin". Only the standard library is used here, so
that every environment can import it.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable

from load import Swarm, measure

SERVER_CORE, CLIENT_CORE = 1, 0
BULK, DONE = b"bulk ", b"done"
COUNTED, TAKEN = b"count", b"."
MESSAGE = b"x" * 64
COUNTED_MESSAGE = COUNTED.ljust(1400, b"x")
LARGEST = 8 << 20
"""The largest message of a bulk transfer, where the peer has messages."""
PATIENCE = 10.0
"""Seconds until a connection or an answer must have come."""
BUFFER_SIZE = 4 << 20
IDLE_TIMEOUT = 60.0
"""Seconds that a crowd may be silent, while it prepares what it will send."""


class Echo:
    """Counts the answers of an echo, and how long each took when there is one at a time.

    The time runs from the first call of `counts`, when the client is connected.
    """

    def __init__(self, outstanding: int, seconds: float) -> None:
        self.outstanding = outstanding
        self.answers = 0
        self._one_by_one = outstanding == 1
        self._laps: list[float] = []
        self._seconds = seconds
        self._began = self._last = self._end = 0.0

    def counts(self, answers: int) -> bool:
        """So many more answers arrived; False when the time is over."""
        now = time.perf_counter()
        if not self._began:
            self._began = self._last = now
            self._end = now + self._seconds
        self.answers += answers
        if self._one_by_one and answers:
            self._laps.append(now - self._last)
            self._last = now
        if not answers and now > self._last_heard() + PATIENCE:
            raise TimeoutError("no answer comes any more")
        return now < self._end

    def _last_heard(self) -> float:
        return self._last if self._one_by_one else self._end

    def report(self) -> None:
        """Print what was found."""
        elapsed = time.perf_counter() - self._began
        found = {"rate": self.answers / elapsed}
        if self._laps:
            cuts = statistics.quantiles(self._laps, n=100)
            found |= {"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}
        tell(found)


class BulkCount:
    """The part of a bulk transfer that a server keeps."""

    def __init__(self) -> None:
        self._left = -1

    def takes(self, message: bytes) -> bool:
        """True when the message belongs to a transfer, and is not to be echoed."""
        if message.startswith(BULK):
            self._left = int(message[len(BULK) :])
        elif self._left > 0:
            self._left -= len(message)
        else:
            return False
        return True

    def is_over(self) -> bool:
        """True once, when all has arrived."""
        if self._left == 0 or self._left < -1:
            self._left = -1
            return True
        return False


def enlarge(sock: socket.socket) -> None:
    """Give a server's socket the buffers that this package asks for."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)


def parts(size: int) -> list[bytes]:
    """Random messages of `size` bytes in all, each as large as it may be."""
    sizes = [LARGEST] * (size // LARGEST) + ([size % LARGEST] if size % LARGEST else [])
    return [os.urandom(each) for each in sizes]


def tell(found: dict[str, object]) -> None:
    """Print one line for the program that started this one."""
    print(json.dumps(found), flush=True)


def patiently(done: Callable[[], bool]) -> None:
    """Call `done` until it is true; TimeoutError when that takes too long."""
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the peer does not answer")


def run(
    server: Callable[[str], None] | None = None,
    echo: Callable[[int, str, Echo, str], None] | None = None,
    bulk: Callable[[int, str, int], None] | None = None,
    stream: Callable[[int, str, float], None] | None = None,
    window: Callable[[int, str, Echo], None] | None = None,
    crowd: Callable[[int, str, int], Swarm] | None = None,
) -> None:
    """Do what the command line says."""
    command, *arguments = sys.argv[1:]
    core = SERVER_CORE if command == "server" else CLIENT_CORE
    if hasattr(os, "sched_setaffinity") and core < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {core})
    if command == "server" and server is not None:
        server(arguments[0] if arguments else "")
    elif command == "echo" and echo is not None:
        port, key, outstanding, seconds, wait = arguments
        count = Echo(int(outstanding), float(seconds))
        echo(int(port), key, count, wait)
        count.report()
    elif command == "bulk" and bulk is not None:
        port, key, size = arguments
        bulk(int(port), key, int(size))
    elif command == "stream" and stream is not None:
        port, key, span = arguments
        stream(int(port), key, float(span))
    elif command == "window" and window is not None:
        port, key, outstanding, seconds = arguments
        count = Echo(int(outstanding), float(seconds))
        window(int(port), key, count)
        count.report()
    elif command == "crowd" and crowd is not None:
        what, port, key, bots, seconds, process = arguments
        tell(measure(crowd, what, int(port), key, int(bots), float(seconds), int(process)))
    else:
        sys.exit(f"{sys.argv[0]} has no {command}")
