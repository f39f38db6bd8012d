"""Items 2 and 3: this package beside what somebody would use instead.

Each peer is a program of `peers/`, its server on one core and its client on the other; the
repetitions take turns. Where a client can either sleep until something arrives or spin, the one
that is faster for it counts.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import python_with
from figures import Figure
from programs import client, serving
from timing import Spread

from mpgameserver import EventHandler, RetryMode, ServerContext, ThreadedServer, UdpClient

PROGRAMS = Path(__file__).parent / "peers"
BULK_SIZE = 10_000_000
NONCES = 32767
"""Datagrams that one side may send per second: PROTOCOL.md section 7."""
OURS, PLAIN, SEALED = "this package", "UDP socket", "UDP socket with AES-GCM"
ENET, QUIC, TCP = "pyenet", "aioquic", "TCP socket"
PUBLISHED, TUNED = "mpgameserver 0.2.4", "mpgameserver 0.2.4, shortest tick"


@dataclass(frozen=True)
class Peer:
    """A program of `peers/`, and what it can do."""

    python: str
    program: tuple[str, ...]
    waits: tuple[str, ...] = ("sleep",)
    bulk_size: int = BULK_SIZE
    echoes: bool = True

    def command(self, *arguments: object) -> list[str]:
        """The command line that runs it."""
        return [
            self.python,
            str(PROGRAMS / self.program[0]),
            *self.program[1:],
            *map(str, arguments),
        ]


def peers() -> dict[str, Peer]:
    """All that can be had here."""
    both = ("sleep", "spin")
    found = {
        OURS: Peer(sys.executable, ("ours.py",), both),
        PLAIN: Peer(sys.executable, ("plain.py",), both, bulk_size=0),
        SEALED: Peer(sys.executable, ("plain.py", "--seal"), both, bulk_size=0),
        TCP: Peer(sys.executable, ("tcp.py",), echoes=False),
    }
    if python := python_with("enet"):
        found[ENET] = Peer(python, ("enet_peer.py",), both)
    if python := python_with("quic"):
        found[QUIC] = Peer(python, ("quic.py",))
    if python := python_with("published"):
        found[PUBLISHED] = Peer(python, ("published.py",), bulk_size=50_000)
        found[TUNED] = Peer(python, ("published.py", "--tuned"), bulk_size=200_000)
    return found


def echoes(
    all_peers: dict[str, Peer], outstanding: int, seconds: float, repetitions: int
) -> dict[str, list[dict[str, Any]]]:
    """What each peer's echoes came to, the better of its ways to wait in each repetition."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in all_peers}
    for _ in range(repetitions):
        for name, peer in all_peers.items():
            waits = peer.waits if outstanding > 1 else peer.waits[:1]
            with serving(*peer.command("server")) as (port, key):
                runs = [
                    client(*peer.command("echo", port, key, outstanding, seconds, w)) for w in waits
                ]
            found[name].append(max(runs, key=lambda run: run["rate"]))
    return found


def echo(seconds: float, repetitions: int) -> Iterator[Figure]:
    """Item 2: many small messages under way, and one at a time."""
    all_peers = {name: peer for name, peer in peers().items() if peer.echoes}
    many = {
        name: Spread.of([run["rate"] for run in runs])
        for name, runs in echoes(all_peers, 32, seconds, repetitions).items()
    }
    what = "echo of 64 B, 32 outstanding"
    targets = {ENET: 2.0, PLAIN: 3.0}
    for name, spread in many.items():
        if name != OURS:
            yield Figure(2, what, many[OURS], targets.get(name), name, spread, "/s", at_least=True)
    one = echoes(all_peers, 1, seconds, repetitions)
    for cut, limits in (("p50", {SEALED: 1.15}), ("p99", {})):
        spreads = {name: Spread.of([run[cut] for run in runs]) for name, runs in one.items()}
        for name, spread in spreads.items():
            if name != OURS:
                what = f"echo of 64 B, one outstanding, {cut}"
                yield Figure(2, what, spreads[OURS], limits.get(name), name, spread)


def bulk(repetitions: int) -> Iterator[Figure]:
    """Item 3: 10 MB of reliable messages on a fresh connection."""
    all_peers = {name: peer for name, peer in peers().items() if peer.bulk_size}
    rates: dict[str, list[float]] = {name: [] for name in all_peers}
    again = []
    for _ in range(repetitions):
        for name, peer in all_peers.items():
            with serving(*peer.command("server")) as (port, key):
                run = client(*peer.command("bulk", port, key, peer.bulk_size))
            rates[name].append(peer.bulk_size / run["seconds"] / 1e6)
            if name == OURS:
                again.append(float(run["retransmitted"] + run["timeouts"]))
    found = {name: Spread.of(each) for name, each in rates.items()}
    targets = {ENET: 1.0, TCP: 0.5}
    for name, spread in found.items():
        if name != OURS:
            size = all_peers[name].bulk_size
            given = name if size == BULK_SIZE else f"{name}, given {size // 1000} kB"
            what = "10 MB of reliable messages"
            yield Figure(3, what, found[OURS], targets.get(name), given, spread, "MB/s", True)
    yield Figure(3, "sent again or timed out in 10 MB", Spread.of(again), 0.0, unit="messages")


def sustained(seconds: float) -> Iterator[Figure]:
    """Item 3: a transfer that goes on, against the nonces."""
    peer = Peer(sys.executable, ("ours.py",))
    with serving(*peer.command("server")) as (port, key):
        run = client(*peer.command("stream", port, key, seconds))
    rate = Spread.of([run["datagrams"] / run["seconds"]])
    bound = Spread.of([float(NONCES)])
    yield Figure(
        3, f"datagrams of a transfer of {seconds:g} s", rate, 0.9, "the nonces", bound, "/s", True
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
        yield Figure(2, f"answer at 60 frames a second, {name}", value, 1.0, unit="frames")
