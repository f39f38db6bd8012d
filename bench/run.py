"""Measures the library against what limits it, on this machine, and prints how it compares.

Refuses to run on a build with hooks or sanitizers: its figures would say nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crowds
import frame
import hotpath
import memory
import protocol2
import versus
from figures import Figure, spread_text
from rich.console import Console
from rich.table import Table
from timing import interleave

from mpgameserver import RetryMode, build_info

NONE, RELIABLE = RetryMode.NONE, RetryMode.RETRY_ON_TIMEOUT
LOADS = (("one 64 B message", 64, 1, 2.0), ("ten 16 B", 16, 10, 3.0), ("one 1,024 B", 1024, 1, 1.6))
PLAIN_WIDTH = 160  # columns of the table where no terminal has a width
MOST_RELIABLE_COSTS = 1.15  # times what an unreliable one does


def hot_path(count: int, repetitions: int) -> Iterator[Figure]:
    """Item 1: a datagram through both sides, against the cipher."""
    for name, size, messages, target in LOADS:
        found = interleave(
            {
                "floor": hotpath.floor(hotpath.payload_size(size, messages), count),
                "none": hotpath.exchange(size, messages, NONE, count),
                "reliable": hotpath.exchange(size, messages, RELIABLE, count),
                "second": hotpath.exchange(size, messages, NONE, count, 2),
            },
            repetitions,
        )
        seal = "AES-GCM seal and open"
        yield Figure(1, f"{name}, NONE", found["none"], target, seal, found["floor"])
        yield Figure(
            1,
            f"{name}, RETRY_ON_TIMEOUT",
            found["reliable"],
            MOST_RELIABLE_COSTS,
            "NONE",
            found["none"],
        )
        yield Figure(1, f"{name}, NONE, protocol 2", found["second"], None, seal, found["floor"])


def in_flight(count: int, repetitions: int) -> Iterator[Figure]:
    """Item 6: the cost of a datagram does not depend on how many are in flight."""
    found = interleave(
        {str(n): hotpath.receive_with_in_flight(n, count) for n in (1, 1024)}, repetitions
    )
    yield Figure(6, "receive with 1,024 in flight", found["1024"], 1.2, "with 1", found["1"])


def hostile(count: int, repetitions: int) -> Iterator[Figure]:
    """Item 7: what a datagram costs that is dropped."""
    found = interleave(
        {
            "failing": hotpath.failing_open(66, count),
            "forged": hotpath.reject(hotpath.forged, count, "authentication failed"),
            "behind": hotpath.reject(hotpath.behind, count, "too old"),
            "misdirected": hotpath.reject(hotpath.misdirected, count, "misdirected"),
        },
        repetitions,
    )
    yield Figure(7, "forged datagram", found["forged"], 1.5, "failing AES-GCM", found["failing"])
    yield Figure(7, "behind the window", found["behind"], 0.5)
    yield Figure(7, "wrong identifier", found["misdirected"], 0.5)


def frames(count: int, repetitions: int) -> Iterator[Figure]:
    """Item 8: a frame in which nothing happens."""
    with frame.quiet_client() as client, frame.same_socket(client) as sock:
        found = interleave(
            {"read": frame.failing_read(sock, count), "update": frame.idle_frame(client, count)},
            repetitions,
        )
    yield Figure(8, "update() with nothing to do", found["update"], 2.0, "recvfrom", found["read"])


def machine() -> dict[str, Any]:
    """Describe the machine that the values were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cipher": hotpath.cipher(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def print_table(console: Console, figures: list[Figure]) -> None:
    """The figures, each with its spread, its ratio and its target."""
    table = Table(title="median (least to most)")
    for heading in ("item", "what", "here", "against", "there", "result", "target", ""):
        table.add_column(heading)
    for figure in figures:
        table.add_row(
            str(figure.item),
            figure.name,
            spread_text(figure.value, figure.unit),
            figure.baseline_name,
            spread_text(figure.baseline, figure.unit) if figure.baseline else "",
            figure.result,
            figure.limit,
            figure.verdict,
        )
    console.print(table)


def write(path: Path, figures: list[Figure], items: list[int]) -> None:
    """Write the figures; where only some items were measured, beside the others in the file."""
    date, dates, kept = datetime.date.today().isoformat(), {}, []
    if items and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        kept = [figure for figure in before["figures"] if figure["item"] not in items]
        dates = before.get("dates", {}) | dict.fromkeys(map(str, items), date)
        date = before["date"]
    found = kept + [figure.as_dict() for figure in figures]
    results = {
        "date": date,
        "dates": dates,
        "machine": machine(),
        "figures": sorted(found, key=lambda figure: figure["item"]),
    }
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measures(quick: bool) -> dict[int, list[Callable[[], Iterator[Figure]]]]:
    """By item, what measures it."""
    count, repetitions = (5_000, 5) if quick else (20_000, 15)
    seconds, rounds, trials = (0.4, 1, 3) if quick else (2.0, 3, 6)
    return {
        1: [lambda: hot_path(count, repetitions)],
        2: [lambda: versus.echo(seconds, rounds), lambda: versus.framed(120 if quick else 600)],
        3: [lambda: versus.bulk(rounds), lambda: versus.sustained(3.0 if quick else 10.0)],
        4: [
            lambda: crowds.players(2.0 if quick else 4.0, 1 if quick else 3, trials),
            *([] if quick else [lambda: crowds.others(2.0, trials)]),
            lambda: crowds.idlers(3.0 if quick else 10.0),
        ],
        5: [lambda: memory.memory(quick), lambda: memory.others(quick)],
        6: [lambda: in_flight(count, repetitions)],
        7: [lambda: hostile(count, repetitions)],
        8: [lambda: frames(count, repetitions)],
        9: [lambda: protocol2.rows(quick)],
    }


def measured(items: list[int], quick: bool, console: Console) -> Iterator[Figure]:
    """The figures of some items, or of all."""
    for item, each in measures(quick).items():
        if not items or item in items:
            console.print(f"item {item} ...")
            for measure in each:
                yield from measure()


def main() -> int:
    """Measure, print, and write the results where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repetitions")
    parser.add_argument("--item", type=int, action="append", default=[], help="only this item")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    kind = build_info().kind
    if kind != "release":
        print(f"this is a {kind} build: only a release build can be measured", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    figures = list(measured(arguments.item, arguments.quick, console))
    print_table(console, figures)
    if arguments.out:
        write(arguments.out, figures, arguments.item)
    return 0


if __name__ == "__main__":
    sys.exit(main())
