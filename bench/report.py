"""Writes docs/performance.md and its plots from bench/results.json, and nothing that is not there.

`report.py` writes both; without matplotlib the page alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import BESIDE_OTHERS, spread_text
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
    6: "What is in flight",
    7: "What is forged or late",
    8: "A frame in which nothing happens",
}
NOTES = {
    1: "Each datagram is encoded and decoded; the baseline is one seal and one open by a reused "
    "`AESGCM` of `cryptography`, of the same bytes. Where the interpreter has an OpenSSL that can "
    "be called in C, a session spends less than that on its cipher.",
    2: "Client and server are processes on a core each. Where a client can sleep or spin while "
    "it waits, the faster of the two counts for every library when many are outstanding, and "
    "both are told of one outstanding. A server of this package looks for the next datagram "
    "for 50 µs before it sleeps, when they come so quickly; the servers of the plain sockets "
    "sleep at once, as who writes one lets them. A datagram holds 20 of these messages and no"
    " side may send more than 32,767 datagrams a second (see below): the nonces allow 655,340"
    " echoes a second over a longer time, and 983,010 in a run of 2 s, which sees those of up"
    " to three seconds. Here 32 messages take two datagrams, so that it is some four fifths "
    "of either. mpgameserver 0.2.4 is measured as it comes, and with the shortest tick and a "
    "client that calls `update()` without a pause. Each of its sides sends one datagram per "
    "sixtieth of a second all the same, and no setting that its pages name changes that: "
    "1,200 such echoes a second are its limit.",
    3: "A datagram's number is one of 65,535 and its send time is in whole seconds; the nonce is "
    "made of both, so at most 32,767 datagrams may share a second, or "
    "1,024 B each 33.5 MB/s of a transfer that goes on; 10 s see the nonces of eleven such "
    "seconds. A short one is not bounded by it: "
    "10 MB are 9,767 datagrams. TCP over loopback moves bytes without a cipher and in pieces of "
    "up to 64 kB. AES-GCM alone is the bound of whatever seals datagrams of 1,024 B by the "
    "cipher of a session: one core seals all of them, another opens them, and nothing else is "
    "done; it is measured in the same run, and the slower of the two counts.",
    4: "The crowd of bots runs on the other core. Each bot has an address of its own and, where "
    "there is encryption, a session that began with a handshake; it sends 32 messages of 64 B a "
    "second, every one of which must be answered, and 99 of 100 within 40 ms of when they were "
    "due. Beside the other libraries it is 100 ms for all. The largest crowd is looked for by "
    "halving the distance between one that is served and one that is not, six times. The bots "
    "share one socket, what they send is sealed before the run, what they get is opened after it. "
    "A crowd that has used 90 % of its core, fell 10 ms behind, or dropped what it should have "
    "read is itself the limit: it tries again, and the table says so when that is no better. "
    "The bots on mpgameserver 0.2.4 are this package's own; pyenet and aioquic have theirs, by "
    "those libraries. ENet's throttle, which drops datagrams when round trips become longer, is "
    "switched off, and the sockets of pyenet, aioquic and the plain servers have buffers as "
    "large as this package's.",
    5: "An idle connection is what the server's process grows by, by the system's count; its parts "
    "are what Python's allocators were asked for. With traffic: 10 minutes of play in virtual "
    "time, 32 datagrams a second each way, one frame in 50 lost, and a message of 5,000 B every "
    "10 s. Nothing grows with the length of play: the statistics have all of their bins from the "
    "start, the filter of message numbers its 4 KiB from the 257th message on, and the 65,536 "
    "numbers that messages are handed out with, 3.7 MB in each process, are made when the package "
    "is imported. "
    "Beside the other libraries it is read off a server with connections that were made by "
    "handshakes. ENet makes room for 4,095 in advance: what that takes is counted to them.",
    7: "The failing AES-GCM is the `decrypt` call that raises.",
    8: "The baseline is a `recvfrom` of the same socket that raises `BlockingIOError`.",
}
PLOTTED = {
    2: ("echo.svg", "echo of 64 B, 32 outstanding", "echoes per second"),
    3: ("bulk.svg", "10 MB of reliable messages", "MB/s"),
    4: ("players.svg", BESIDE_OTHERS, "players"),
}


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    yield "# Performance"
    yield ""
    yield "Made by `make bench`, which measures all of it anew. Each value is the median of"
    yield "repetitions that took turns with what it is held against, with the least and the most in"
    yield "brackets: how far these are apart is how noisy the machine was."
    yield ""
    yield (
        f"Measured on {results['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, AES-GCM by {machine['cipher']}."
    )
    for item in sorted({figure["item"] for figure in results["figures"]}):
        yield ""
        yield f"## {TITLES[item]}"
        yield ""
        if item in NOTES:
            yield NOTES[item]
            yield ""
        name, what, _ = PLOTTED.get(item, ("", "", ""))
        if bars(results, what):
            yield f"![{what}](performance/{name})"
            yield ""
        yield "| what | here | against | there | result | target | |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for figure in results["figures"]:
            if figure["item"] == item:
                yield _row(figure)


def _row(figure: dict[str, Any]) -> str:
    there = spread_text(Spread(**figure["baseline"]), figure["unit"]) if figure["baseline"] else ""
    cells = (
        figure["name"],
        spread_text(Spread(**figure["value"]), figure["unit"]),
        figure["baseline_name"],
        there,
        figure["result"],
        figure["limit"],
        figure["verdict"].lower(),
    )
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
