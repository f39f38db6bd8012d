"""Item 5: what a connection takes of the memory, idle and in play.

The parts are made without sockets and handshakes; what other libraries take is read off their
servers, and so is this package's beside them.
"""

from __future__ import annotations

import multiprocessing
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import hotpath
from crowds import has_two_cores, trial
from figures import Figure
from libraries import OURS, Library, libraries
from peers.load import resident
from timing import Spread

from mpgameserver import RetryMode, ServerContext
from mpgameserver._core.endpoint1 import Endpoint1
from mpgameserver._core.rate_bins import RateBins
from mpgameserver._core.receive_window import ReceiveWindow
from mpgameserver._core.sent_window import SentWindow
from mpgameserver.connection import Connection, Timing
from mpgameserver.server.engine import ServerEngine
from mpgameserver.server.handler import EventHandler
from mpgameserver.server.sessions import Session
from mpgameserver.wire.session_cipher import session_cipher

IDLE_LIMIT, TRAFFIC_LIMIT = 12.0, 40.0
"""kB of memory for a connection that is idle, and for one that plays."""
FLAT = 1.05
"""The memory that ten minutes of play may take, relative to two."""
FRAME = 1 / 32
LOST_EVERY = 50
"""Of so many frames one is lost."""
IDLE_SECONDS = 1.0


def sessions(count: int) -> list[Session]:
    """As many sessions as a server would have, without their handshakes."""
    engine = ServerEngine(ServerContext(EventHandler()))
    made = []
    for number in range(count):
        aead = session_cipher(number.to_bytes(16, "big"))
        endpoint = Endpoint1(aead, True, hotpath.START, hotpath.WALL_START)
        connection = Connection(endpoint, number, Timing())
        address = (f"127.0.{number >> 8}.{number & 255}", number)
        made.append(Session(connection, address, number.to_bytes(91, "big"), engine))
    return made


def each(make: Callable[[int], object], count: int) -> Spread:
    """kB that one of `count` things takes, by what Python's allocators were asked for."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = make(count)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del made
    return Spread.of([taken / count / 1000])


def play(pairs: list[tuple[Endpoint1, Endpoint1]], began: float, seconds: float) -> float:
    """Let every pair play in virtual time: small messages, some large ones, some lost."""
    frame, end = 0, began + seconds
    while began < end:
        began += FRAME
        frame += 1
        for pair in pairs:
            for sender, receiver in (pair, pair[::-1]):
                sender.send_queue.add(bytes(64), RetryMode.NONE)
                if frame % 320 == 0:
                    sender.send_queue.add(bytes(5000))
                sender.advance(began)
                while (datagram := sender.next_datagram(began)) is not None:
                    if frame % LOST_EVERY:
                        receiver.receive(datagram, began)
                receiver.take_messages()
                sender.take_completed()
    return began


def idle_memory(count: int) -> float:
    """kB that an idle connection takes; for a process of its own."""
    before = resident()
    made = sessions(count)
    return (resident() - before) / len(made)


def playing() -> tuple[Endpoint1, Endpoint1]:
    """Both sides of a session, with the timing that they have by default."""
    pair = hotpath.session()
    for endpoint in pair:
        endpoint.keep_alive_interval, endpoint.message_timeout = 0.1, 1.0
    return pair


def play_memory(players: int, minutes: tuple[float, float]) -> tuple[float, float]:
    """kB held early and late in a play of so many players; for a process of its own."""
    pairs = [playing() for _ in range(players // 2)]
    now = play(pairs, hotpath.START, minutes[0] * 60)
    early = resident()
    play(pairs, now, (minutes[1] - minutes[0]) * 60)
    return early, resident()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a function's result from a process of its own, without memory freed before."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def memory(quick: bool) -> Iterator[Figure]:
    """Item 5: what a connection takes, idle and in play, and whether it stays so."""
    if not sys.platform.startswith("linux"):
        return
    value = Spread.of([alone(idle_memory, 4000) for _ in range(1 if quick else 5)])
    yield Figure(5, "an idle connection on the server", value, IDLE_LIMIT, unit="kB")
    for name, make in (
        ("of it, statistics", lambda n: [RateBins(0.0) for _ in range(n)]),
        ("of it, packets sent", lambda n: [SentWindow() for _ in range(n)]),
        ("of it, packets received", lambda n: [ReceiveWindow() for _ in range(n)]),
        ("of it, the endpoint without its cipher", _endpoints),
    ):
        yield Figure(5, name, each(make, 1000), None, unit="kB")
    minutes, few, many = ((0.2, 1.0), 20, 60) if quick else ((2.0, 10.0), 100, 300)
    few_hold = alone(play_memory, few, minutes)[-1]
    early, late = alone(play_memory, many, minutes)
    taken = Spread.of([(late - few_hold) / (many - few)])  # without what all of them share
    yield Figure(5, "a connection with traffic", taken, TRAFFIC_LIMIT, unit="kB")
    what, against = f"the process after {minutes[1]:g} minutes of play", f"after {minutes[0]:g}"
    yield Figure(5, what, Spread.of([late]), FLAT, against, Spread.of([early]), "kB")


def on_server(library: Library, bots: int) -> float:
    """kB that a server takes for each of so many idle connections.

    Where room for connections is made in advance, that belongs to them.
    """
    found = trial(library, "idle", bots, IDLE_SECONDS)
    if not library.allocated:
        return float(found["memory"])
    single = trial(library, "idle", 1, IDLE_SECONDS, "single")
    return float(found["memory"] + (found["empty"] - single["empty"]) / (library.allocated - 1))


def others(quick: bool) -> Iterator[Figure]:
    """Item 5: an idle connection on the servers of all libraries, by what the system counts."""
    if not has_two_cores():
        return
    found = {
        name: Spread.of([on_server(library, library.idlers // (4 if quick else 1))])
        for name, library in libraries().items()
        if library.idlers
    }
    for name, spread in found.items():
        if name != OURS:
            what = "an idle connection, growth of the server"
            yield Figure(5, what, found[OURS], None, name, spread, "kB")


def _endpoints(count: int) -> list[Endpoint1]:
    aead = session_cipher(bytes(16))
    return [Endpoint1(aead, True, hotpath.START, hotpath.WALL_START) for _ in range(count)]
