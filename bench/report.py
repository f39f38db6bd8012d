"""Writes docs/performance.md and its plots from bench/results.json, and nothing that is not there.

`report.py` writes both; without matplotlib the page alone.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from figures import BESIDE_OTHERS, readable
from timing import Spread

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
TITLES = {
    1: "The hot path, without a socket",
    2: "Echoes",
    3: "Bulk transfers",
    4: "One core of a server",
    5: "Memory",
    6: "Packets in flight",
    7: "Forged and late datagrams",
    8: "An idle frame",
    9: "What protocol 2 must beat",
}
NOTES = {
    1: "Each datagram is encoded and decoded. The baseline is one seal and one open of the same "
    "bytes by a reused `AESGCM` of `cryptography`. Where a session can call the interpreter's "
    "OpenSSL in C, its cipher costs less than that.",
    2: "Client and server are separate processes, on a core each. With many messages "
    "outstanding, the table shows the faster of a client that sleeps and one that spins, for "
    "every library; with one outstanding it shows both. When datagrams arrive quickly enough, a "
    "server of this package busy-polls for 50 µs before it sleeps; the plain-socket servers block "
    "in `recvfrom`, as a straightforward server would."
    "\n\n"
    "The [nonces](glossary.md#nonce) limit this test. A datagram holds 20 of these messages, and a "
    "side may send at most 32,767 datagrams a second (see Bulk transfers), which makes 655,340 "
    "echoes a second in the long run, and 983,010 in a run of 2 s that touches three seconds of "
    "the clock. With 32 "
    "messages in two datagrams, some four fifths of either are possible."
    "\n\n"
    "mpgameserver 0.2.4 is measured with its defaults, and with its shortest tick and a client "
    "that calls `update()` without a pause. Each of its sides still sends one datagram per "
    "sixtieth of a second, which none of its documented settings changes, so 1,200 such echoes a "
    "second are its limit.",
    3: "The nonce consists of a packet number, one of 65,535, and the send time in whole seconds. "
    "At most 32,767 datagrams may therefore share a second: with 1,024 B each, 33.5 MB/s in a long "
    "transfer. A transfer of 10 s touches eleven seconds of the clock. A short one does not reach "
    "the limit: 10 MB are 9,767 datagrams."
    "\n\n"
    "TCP over loopback does not encrypt, and moves up to 64 kB at a time. AES-GCM alone is the "
    "upper bound for anything that seals datagrams of 1,024 B with a session's cipher: one core "
    "seals them all, another opens them, and nothing else is done. It is measured in the same run, "
    "and the slower of the two cores counts.",
    4: "A crowd of bots runs on the other core. Each bot has its own address and, where there is "
    "encryption, a session that began with a handshake. It sends 32 messages of 64 B a second. "
    "Every message must be answered, and 99 of 100 within 40 ms of when it was due; in the "
    "comparison with other libraries it is 100 ms for all of them. The largest crowd is found by "
    "bisection, in six steps."
    "\n\n"
    "The bots share one socket; their datagrams are sealed before the run, and the replies opened "
    "after it. The crowd itself is the limit if it uses 90 % of its core, falls 10 ms behind, or "
    "drops what it should have read. It then tries again, and the table says so if that does not "
    "help. The bots for mpgameserver 0.2.4 are this package's; those for pyenet and aioquic use "
    "these libraries. ENet's throttle, which drops datagrams when "
    "[round trips](glossary.md#round-trip-time-rtt) grow, is off. The "
    "sockets of pyenet, aioquic and the plain servers have buffers as large as this package's.",
    5: "An idle connection is measured as the growth of the server's process, as the system "
    "reports it; its parts are what was requested from Python's allocators. A connection with "
    "traffic has had 10 minutes of play in virtual time: 32 datagrams a second each way, one frame "
    "in 50 lost, and a message of 5,000 B every 10 s."
    "\n\n"
    "Nothing grows with the length of play. The statistics have all of their bins from the start, "
    "and the filter of message numbers has its 4 KiB from the 257th message on. The 65,536 "
    "integers that serve as message numbers, 3.7 MB in each process, are created when the package "
    "is imported."
    "\n\n"
    "For the comparison with other libraries, the growth of a server's process is measured with "
    "connections that were made by handshakes. ENet allocates room for 4,095 peers in advance; its "
    "figure includes that.",
    7: "The failing AES-GCM is a `decrypt` call that raises.",
    8: "The baseline is a `recvfrom` on the same socket that raises `BlockingIOError`.",
    9: "[Protocol 2](protocol2.md) was made for what protocol 1 cannot do, and each row is one of "
    "those things; where its target comes from is said beside it. Both are measured above where "
    "they can be compared. Reordering, [jitter](glossary.md#jitter), moves, path sizes and the "
    "replaced server are in virtual time, with a round trip of 100 ms, and of 200 ms for moves; "
    "they do not depend on the machine. The "
    "way of a forged hello is that from a datagram that was read to a reply that is to be sent: "
    "what the system calls cost comes on top. A command measures its row alone, in a checkout "
    "after `make bench-quick`, with the `python` of `.venv/bin`.",
}
FALLS_SHORT = {
    "hello of version 1": "the CRC-32 of 1,466 bytes, and the CLIENT_HELLO of version 1 around the "
    "offer",
    "CLIENT_HELLO2": "two thirds are the keyed BLAKE2s, called as a Python function, and the "
    "calls from the dispatcher to it; a hash of our own in C would be one more to trust",
    "one 64 B message": "the mask of the header: a block of AES on either side, which protocol 1 "
    "does not have, and the ranges of an ACK",
    "24 outstanding": "ENet does not encrypt; 24 messages are answered one by one, so the time "
    "of a system call and of sealing on each side counts in full",
    "bulk over 10 s": "of either core's time OpenSSL takes a third, the kernel and copies of bytes "
    "another, and fragments, ACKs and packet numbers the last (`perf record`)",
    "sustained datagrams": "of either core's time OpenSSL takes a third, the kernel and copies of "
    "bytes another (`perf record`)",
}
"""Of a row of item 9 that is missed, why, by a part of its name."""
PLOTTED = {
    2: ("echo.svg", "echo of 64 B, 32 outstanding", "echoes per second"),
    3: ("bulk.svg", "10 MB of reliable messages", "MB/s"),
    4: ("players.svg", BESIDE_OTHERS, "players"),
}


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join(_lines(results)).rstrip() + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    yield "# Performance"
    yield ""
    yield "This page is generated by `make bench`, which repeats all measurements. Each value is"
    yield "the median of repetitions that alternated with those of its baseline. Minimum and"
    yield "maximum follow where they differ: the further apart, the noisier the machine was. A"
    yield "ratio is the value of this package divided by that of what it is compared with."
    yield ""
    yield (
        f"Measured on {results['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, AES-GCM by {machine['cipher']}."
    )
    yield ""
    for item in sorted({figure["item"] for figure in results["figures"]}):
        yield f"## {TITLES[item]}"
        yield ""
        if item in NOTES:
            yield NOTES[item]
            yield ""
        name, what, _ = PLOTTED.get(item, ("", "", ""))
        if bars(results, what):
            yield f"![{what}](performance/{name})"
            yield ""
        date = results.get("dates", {}).get(str(item), results["date"])
        if date != results["date"]:
            yield f"Measured on {date}."
            yield ""
        figures = [each for each in results["figures"] if each["item"] == item]
        yield from _beaten(figures) if item == 9 else _tables(figures)


def _tables(figures: list[dict[str, Any]]) -> Iterator[str]:
    """A table for each measurement that has several baselines, and one for those in between."""
    times = Counter(map(_measured, figures))
    runs = groupby(figures, lambda figure: figure["name"] if times[_measured(figure)] > 1 else "")
    for number, (name, run) in enumerate(runs):
        if name or number:
            yield f"### {name[:1].upper()}{name[1:]}" if name else "### Also measured"
            yield ""
        yield from _comparison(list(run)) if name else _measurements(list(run))
        yield ""


def _beaten(figures: list[dict[str, Any]]) -> Iterator[str]:
    """A table with where each target comes from, and what measures the row."""
    yield _row("measurement", "target from", "this package", "against", "result", "command")
    yield _row(*("---" for _ in range(6)))
    for figure in figures:
        yield _row(
            figure["name"],
            figure["anchor"],
            _spread(figure, "value"),
            _baseline(figure),
            _result(figure) + _shortfall(figure),
            f"`{figure['command']}`",
        )
    yield ""


def _shortfall(figure: dict[str, Any]) -> str:
    """Return by how much a row is missed, and why."""
    if figure["holds"] is not False:
        return ""
    judged = figure["value"]["median"]
    if figure["baseline"]:
        judged /= figure["baseline"]["median"]
    reasons = [f": {why}" for part, why in FALLS_SHORT.items() if part in figure["name"]]
    return f" by {abs(judged / figure['target'] - 1):.0%}{''.join(reasons)}"


def _measured(figure: dict[str, Any]) -> tuple[str, float]:
    """Return the name and the median of this package, the same for each of its baselines."""
    return figure["name"], figure["value"]["median"]


def _comparison(figures: list[dict[str, Any]]) -> Iterator[str]:
    """One measurement: this package, and below it each baseline with the ratio to it."""
    yield "| | median | min to max | ratio |"
    yield "| --- | --- | --- | --- |"
    yield _row("**this package**", *_value(figures[0], "value"), "")
    for figure in figures:
        yield _row(figure["baseline_name"], *_value(figure, "baseline"), _result(figure))


def _measurements(figures: list[dict[str, Any]]) -> Iterator[str]:
    """Several measurements with one baseline each, or without; then there is no column for it."""
    has_baselines = any(figure["baseline"] for figure in figures)
    columns = ["measurement", "this package", "compared with", "result"]
    if not has_baselines:
        columns = ["measurement", "this package", "target"]
    yield _row(*columns)
    yield _row(*("---" for _ in columns))
    for figure in figures:
        between = [_baseline(figure)] if has_baselines else []
        yield _row(figure["name"], _spread(figure, "value"), *between, _result(figure))


def _baseline(figure: dict[str, Any]) -> str:
    if not figure["baseline"]:
        return ""
    return f"{figure['baseline_name']}: {_spread(figure, 'baseline')}"


def _result(figure: dict[str, Any]) -> str:
    """The ratio, if there is a baseline, and what it should be, if there is a target."""
    target = f"{figure['limit']}: {figure['verdict'].lower()}" if figure["limit"] else ""
    if not figure["baseline"]:
        return target
    return f"{figure['result']} ({target})" if target else figure["result"]


def _value(figure: dict[str, Any], which: str) -> tuple[str, str]:
    """A median, and the ends of its spread where it has one."""
    spread = Spread(**figure[which])
    least, most = readable(spread.least, ""), readable(spread.most, "")
    return readable(spread.median, figure["unit"]), "" if least == most else f"{least} to {most}"


def _spread(figure: dict[str, Any], which: str) -> str:
    median, ends = _value(figure, which)
    return f"{median} ({ends})" if ends else median


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def bars(results: dict[str, Any], what: str) -> list[tuple[str, dict[str, float]]]:
    """By library, what one of the measurements came to, the greatest first."""
    figures = [figure for figure in results["figures"] if figure["name"] == what]
    found = {figure["baseline_name"]: figure["baseline"] for figure in figures}
    if figures:
        found["this package"] = figures[0]["value"]
    return sorted(found.items(), key=lambda each: -each[1]["median"])


def draw(results: dict[str, Any]) -> None:
    """Draw the plots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    PLOTS.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "performance", "svg.fonttype": "path"}):
        for name, what, unit in PLOTTED.values():
            found = bars(results, what)
            if not found:
                continue
            figure = Figure(figsize=(8, 0.5 * len(found) + 1), layout="constrained")
            axes = figure.subplots()
            medians = [spread["median"] for _, spread in found]
            low = [spread["median"] - spread["least"] for _, spread in found]
            high = [spread["most"] - spread["median"] for _, spread in found]
            labels = [label for label, _ in found]
            colours = ["#2a6fbb" if label == "this package" else "#b0b7c0" for label in labels]
            axes.barh(labels, medians, xerr=[low, high], color=colours, ecolor="#555555")
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.set_xlabel(f"{unit}, logarithmic")
            axes.set_title(what)
            figure.savefig(PLOTS / name, metadata={"Date": None})


def main() -> int:
    """Write what the results say."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(page(results), encoding="utf-8")
    try:
        draw(results)
    except ModuleNotFoundError as error:
        print(f"no plots: {error.name} is not installed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
