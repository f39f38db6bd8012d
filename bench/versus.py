"""Items 2 and 3: this package beside the alternatives to it.

The repetitions take turns. A client can sleep until something arrives, or spin. With many messages
outstanding, the faster way of each library counts; with one at a time, both are reported.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any

import hotpath
from figures import Figure
from libraries import BULK_SIZE, ENET, OURS, SEALED, SOCKET, TCP, Library, libraries
from programs import client, serving
from timing import Spread

from mpgameserver import EventHandler, RetryMode, ServerContext, ThreadedServer, UdpClient
from mpgameserver.wire.session_cipher import session_cipher

NONCES = 32767
"""Datagrams that one side may send per second: PROTOCOL.md section 7."""
MESSAGES = 20
"""Messages of 64 B that a datagram holds."""
PIECE = 1024
"""Bytes of a large message that travel in a datagram."""
WAYS_TO_WAIT = ("sleep", "spin")
"""The ways in which a client can wait."""
BY_NONCES, BY_CIPHER = "the nonce limit in such a run", "AES-GCM alone, a core each way"


def echoes(
    compared: dict[str, Library],
    outstanding: int,
    seconds: float,
    repetitions: int,
    ways: tuple[str, ...] = WAYS_TO_WAIT,
) -> dict[str, list[dict[str, Any]]]:
    """Return each library's echoes, with the better of its ways to wait in each repetition."""
    compared = {name: each for name, each in compared.items() if {*ways} & {*each.waits}}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in compared}
    for _ in range(repetitions):
        for name, library in compared.items():
            with serving(*library.command("server")) as (port, key, _):
                runs = [
                    client(*library.command("echo", port, key, outstanding, seconds, wait))
                    for wait in library.waits
                    if wait in ways
                ]
            found[name].append(max(runs, key=lambda run: run["rate"]))
    return found


def echo(seconds: float, repetitions: int) -> Iterator[Figure]:
    """Item 2: many small messages outstanding, and one at a time."""
    compared = {name: library for name, library in libraries().items() if library.echoes}
    many = {
        name: Spread.of([run["rate"] for run in runs])
        for name, runs in echoes(compared, 32, seconds, repetitions).items()
    }
    what = "echo of 64 B, 32 outstanding"
    targets = {ENET: 2.0, SOCKET: 3.0}
    for name, spread in many.items():
        if name != OURS:
            yield Figure(2, what, many[OURS], targets.get(name), name, spread, "/s", at_least=True)
    bound = Spread.of([NONCES * MESSAGES * (seconds + 1) / seconds])
    yield Figure(2, what, many[OURS], None, BY_NONCES, bound, "/s", at_least=True)
    for way in WAYS_TO_WAIT:
        yield from of_one(way, echoes(compared, 1, seconds, repetitions, (way,)))


def of_one(way: str, found: dict[str, list[dict[str, Any]]]) -> Iterator[Figure]:
    """Item 2: one message at a time, of clients that wait in one way."""
    for cut, limits in (("p50", {SEALED: 1.15}), ("p99", {})):
        spreads = {name: Spread.of([run[cut] for run in runs]) for name, runs in found.items()}
        for name, spread in spreads.items():
            if name != OURS:
                what = f"echo of 64 B, one outstanding, client {way}s, {cut}"
                yield Figure(2, what, spreads[OURS], limits.get(name), name, spread)


def cipher_alone(size: int) -> float:
    """MB/s that a core seals and another opens, in pieces, and nothing else: the slower of both."""
    aead, data = session_cipher(hotpath.KEY), os.urandom(size)
    nonce, header = os.urandom(hotpath.NONCE), os.urandom(hotpath.HEADER)
    pieces = [data[place : place + PIECE] for place in range(0, size, PIECE)]
    slowest = 0.0
    for work in (aead.encrypt, aead.decrypt):
        began = time.perf_counter()
        pieces = [work(nonce, piece, header) for piece in pieces]
        slowest = max(slowest, time.perf_counter() - began)
    return size / slowest / 1e6


def bulk(repetitions: int) -> Iterator[Figure]:
    """Item 3: 10 MB of reliable messages on a fresh connection."""
    compared = {name: library for name, library in libraries().items() if library.bulk_size}
    rates: dict[str, list[float]] = {name: [] for name in compared}
    again, alone = [], []
    for _ in range(repetitions):
        alone.append(cipher_alone(BULK_SIZE))
        for name, library in compared.items():
            with serving(*library.command("server")) as (port, key, _):
                run = client(*library.command("bulk", port, key, library.bulk_size))
            rates[name].append(library.bulk_size / run["seconds"] / 1e6)
            if name == OURS:
                again.append(float(run["retransmitted"] + run["timeouts"]))
    found = {name: Spread.of(each) for name, each in rates.items()}
    what, targets = "10 MB of reliable messages", {ENET: 1.0, TCP: 0.5}
    for name, spread in found.items():
        if name != OURS:
            size = compared[name].bulk_size
            given = name if size == BULK_SIZE else f"{name}, given {size // 1000} kB"
            yield Figure(3, what, found[OURS], targets.get(name), given, spread, "MB/s", True)
    yield Figure(3, what, found[OURS], None, BY_CIPHER, Spread.of(alone), "MB/s", True)
    yield Figure(3, "retransmitted or timed out in 10 MB", Spread.of(again), 0.0, unit="messages")


def sustained(seconds: float) -> Iterator[Figure]:
    """Item 3: a transfer that goes on, against the nonces."""
    library = libraries()[OURS]
    with serving(*library.command("server")) as (port, key, _):
        run = client(*library.command("stream", port, key, seconds))
    rate = Spread.of([run["datagrams"] / run["seconds"]])
    bound = Spread.of([float(NONCES)])
    yield Figure(
        3,
        f"datagrams of a transfer of {seconds:g} s",
        rate,
        0.9,
        "the nonce limit",
        bound,
        "/s",
        True,
    )


def framed(frames: int) -> Iterator[Figure]:
    """Item 2: with 60 frames a second, an answer is there in the next."""

    class Handler(EventHandler):
        def handle_message(self, client, seqnum, msg=b""):
            client.send(msg)

    taken: list[int] = []
    with (
        ThreadedServer(ServerContext(Handler()), ("127.0.0.1", 0)) as server,
        UdpClient() as player,
    ):
        player.connect(server.address)
        due = time.monotonic()
        for frame in range(frames):
            player.update()
            for _, message in player.getMessages():
                taken.append(frame - int(message))
            if player.connected():
                player.send(b"%d" % (frame + 1), RetryMode.NONE)
            due += 1 / 60
            time.sleep(max(due - time.monotonic(), 0.0))
    taken.sort()
    # A message leaves with the next update, which is its frame 0.
    for name, share in (("p50", 0.50), ("p99", 0.99)):
        value = Spread.of([float(taken[math.ceil(share * len(taken)) - 1])])
        yield Figure(2, f"reply at 60 frames a second, {name}", value, 1.0, unit="frames")
