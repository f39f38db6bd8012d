"""Item 9: what protocol 2 has to beat. `protocol2.py NAME...` measures some of its rows.

Names: rate window bulk reordering jitter overhead moves paths hello newcomer replaced hotpath.
"""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import hellos
import hotpath
import versus
import virtual
from figures import Figure, spread_text
from libraries import ENET, PROGRAMS, SECOND, libraries
from programs import client, serving
from timing import Spread, interleave

from mpgameserver import RetryMode, UdpClient

__all__ = ["ROWS", "rows"]

ITEM = 9
OUTSTANDING, MESSAGE_SIZE = 24, 1400
FLOOD = 10_000
"""Forged hellos per second, which one core of any machine here reads and answers."""
KEEP_ALIVE = 0.1
# Clients and servers that lose each other say so.
logging.getLogger("mpgameserver").addHandler(logging.NullHandler())


def _row(name: str, figure: Figure, anchor: str) -> Figure:
    command = f"python bench/protocol2.py {name}"
    return replace(figure, anchor=anchor, command=command)


def rate(quick: bool) -> Iterator[Figure]:
    """Datagrams a second of one session, over loopback, a core for each side."""
    runs = [_stream(1.0 if quick else 3.0) for _ in range(1 if quick else 5)]
    found = Spread.of([run["datagrams"] / run["seconds"] for run in runs])
    name = "sustained datagrams of one session"
    yield _row("rate", Figure(ITEM, name, found, 200_000.0, unit="/s", at_least=True), "QUIC")


def _stream(seconds: float) -> dict[str, float]:
    library = libraries()[SECOND]
    with serving(*library.command("server")) as (port, key, _):
        return client(*library.command("stream", port, key, seconds))


def bulk(quick: bool) -> Iterator[Figure]:
    """A long transfer, against a core that only seals and one that only opens."""
    rates, alone = [], []
    for _ in range(1 if quick else 3):
        alone.append(versus.cipher_alone(versus.BULK_SIZE))
        run = _stream(2.0 if quick else 10.0)
        rates.append(run["bytes"] / run["seconds"] / 1e6)
    found, bound = Spread.of(rates), Spread.of(alone)
    figure = Figure(ITEM, "bulk over 10 s", found, 0.6, versus.BY_CIPHER, bound, "MB/s", True)
    yield _row("bulk", figure, "AES-GCM alone")


def window(quick: bool) -> Iterator[Figure]:
    """Reliable messages of 1,400 B, of which 24 are unanswered."""
    compared = {name: each for name, each in libraries().items() if name in (SECOND, ENET)}
    rates: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(1 if quick else 5):
        for name, library in compared.items():
            with serving(*library.command("server")) as (port, key, _):
                seconds = 0.5 if quick else 2.0
                run = client(*library.command("window", port, key, OUTSTANDING, seconds))
            rates[name].append(run["rate"] * MESSAGE_SIZE / 1e6)
    found = {name: Spread.of(each) for name, each in rates.items()}
    figure = Figure(
        ITEM,
        "reliable messages of 1,400 B, 24 outstanding",
        found[SECOND],
        1.0 if ENET in found else None,
        ENET if ENET in found else "",
        found.get(ENET),
        "MB/s",
        True,
    )
    yield _row("window", figure, "ENet")


def reordering(quick: bool) -> Iterator[Figure]:
    """Packets sent again for nothing."""
    share = Spread.of([virtual.resent_share(40.0 if quick else 60.0)])
    name = "packets sent again with 30 % reordered and none lost"
    yield _row("reordering", Figure(ITEM, name, share, 1.0, unit="%"), "QUIC's ranges")


def jitter(quick: bool) -> Iterator[Figure]:
    """A long message with jitter, against the same without."""
    with_it, without = (Spread.of([virtual.rate_of(each)]) for each in (0.005, 0.0))
    name = "3 MB over 50 ± 5 ms"
    figure = Figure(ITEM, name, with_it, 0.9, "without jitter", without, "kB/s", True)
    yield _row("jitter", figure, "no jitter")


def overhead(quick: bool) -> Iterator[Figure]:
    """Bytes around a message of 64 B that is alone in its packet."""
    for way, size, most in zip(("server", "client"), virtual.overheads(), (29, 21), strict=True):
        found = Spread.of([float(size)])
        figure = Figure(ITEM, f"around one small message, to the {way}", found, most, unit="bytes")
        yield _row("overhead", figure, "netcode: 18 to 25")


def moves(quick: bool) -> Iterator[Figure]:
    """Changes of address in play; that nothing reliable is lost is checked there."""
    times = [
        passed
        for seed in range(3 if quick else 10)
        for passed in virtual.address_changes(0.1, seed)
    ]
    found = [virtual.quantile(times, 0.9)]
    name = "address change in play at 10 % loss, p90"
    figure = Figure(ITEM, name, Spread.of(found), 2.0, unit="round trips")
    yield _row("moves", figure, "QUIC: a round trip")


def paths(quick: bool) -> Iterator[Figure]:
    """Paths of 1,200 to 1,472 bytes, on which nothing says that a datagram was too large."""
    connected, shares = virtual.path_sizes()
    name = "path sizes: connected after, most"
    yield _row(
        "paths", Figure(ITEM, name, Spread.of([max(connected) * 1e3]), 1000.0, unit="ms"), "quinn"
    )
    name = "path sizes: largest datagram, least share of what the path carries"
    found = Spread.of([min(shares) * 100])
    yield _row("paths", Figure(ITEM, name, found, 100.0, unit="%", at_least=True), "quinn")


def hello(quick: bool) -> Iterator[Figure]:
    """A forged hello during a flood, beside the system calls."""
    count, repetitions = (1000, 3) if quick else (5000, 9)
    found = interleave(
        {
            f"{form} with{'' if has_cookie else 'out'} a cookie": hellos.forged(
                number, has_cookie, count
            )
            for number, form in ((2, "CLIENT_HELLO2"), (1, "hello of version 1"))
            for has_cookie in (False, True)
        },
        repetitions,
    )
    for name, spread in found.items():
        yield _row("hello", Figure(ITEM, f"forged {name}", spread, 3.0), "GNS's cookie")


def newcomer(quick: bool) -> Iterator[Figure]:
    """A client that connects while another program floods the server."""
    library, took = libraries()[SECOND], []
    with serving(*library.command("server")) as (port, key, _):
        flood = [sys.executable, str(PROGRAMS / "flood.py"), str(port), str(FLOOD)]
        with subprocess.Popen(flood, stdout=subprocess.PIPE, text=True) as flooder:
            try:
                assert flooder.stdout is not None
                flooder.stdout.readline()
                time.sleep(0.5)
                took = [_connecting(port, key) * 1e3 for _ in range(5 if quick else 30)]
            finally:
                flooder.kill()
    name = f"a newcomer's way in during {FLOOD:,} forged hellos a second, most"
    figure = Figure(ITEM, name, Spread.of([max(took)]), 300.0, unit="ms")
    yield _row("newcomer", figure, "GNS's cookie")


def _connecting(port: int, key: str) -> float:
    with UdpClient(base64.b64decode(key).decode()) as player:
        began = time.perf_counter()
        player.connect(("127.0.0.1", port))
        while not player.connected():
            player.update()
            time.sleep(0.001)
            if player.failure is not None or time.perf_counter() - began > 10:
                raise RuntimeError(f"it did not connect: {player.failure}")
        return time.perf_counter() - began


def replaced(quick: bool) -> Iterator[Figure]:
    """Another process answers in the server's place."""
    most = max(virtual.noticed_after(KEEP_ALIVE))
    bound = KEEP_ALIVE + virtual.ROUND_TRIP
    name = "server replaced: noticed after, most"
    figure = Figure(ITEM, name, Spread.of([most * 1e3]), bound * 1e3, unit="ms")
    yield _row("replaced", figure, "QUIC's stateless reset")


def hot_path(quick: bool) -> Iterator[Figure]:
    """One message, sealed, opened and delivered, against the cipher that the row names."""
    count, repetitions = (5_000, 5) if quick else (20_000, 15)
    found = interleave(
        {
            "floor": hotpath.floor(hotpath.payload_size(64, 1), count),
            "first": hotpath.exchange(64, 1, RetryMode.NONE, count, 1),
            "second": hotpath.exchange(64, 1, RetryMode.NONE, count, 2),
        },
        repetitions,
    )
    for name, target in (("first", None), ("second", 1.35)):
        figure = Figure(
            ITEM,
            f"one 64 B message, protocol {1 if name == 'first' else 2}",
            found[name],
            target,
            "seal and open",
            found["floor"],
        )
        yield _row("hotpath", figure, "cryptography's AESGCM")


ROWS: dict[str, Callable[[bool], Iterator[Figure]]] = {
    "rate": rate,
    "window": window,
    "bulk": bulk,
    "reordering": reordering,
    "jitter": jitter,
    "overhead": overhead,
    "moves": moves,
    "paths": paths,
    "hello": hello,
    "newcomer": newcomer,
    "replaced": replaced,
    "hotpath": hot_path,
}
"""The function that measures each row, by the name in its command; True: in short."""


def rows(quick: bool) -> Iterator[Figure]:
    """Measure all rows."""
    for measure in ROWS.values():
        yield from measure(quick)


def main() -> int:
    """Measure the rows that are named."""
    names = sys.argv[1:]
    if not names or not {*names} <= {*ROWS}:
        print(__doc__, file=sys.stderr)
        return 2
    for name in names:
        for figure in ROWS[name](False):
            against = (
                f" against {spread_text(figure.baseline, figure.unit)}" if figure.baseline else ""
            )
            print(f"{figure.name}: {spread_text(figure.value, figure.unit)}{against}")
            print(f"    {figure.result} ({figure.limit}) {figure.verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
