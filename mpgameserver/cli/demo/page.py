"""The report of the demo as one page of HTML, which needs nothing but itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from mpgameserver.cli.demo.report import DemoReport, DemoSettings
from mpgameserver.cli.demo.timeline import Timeline
from mpgameserver.cli.display import Table, milliseconds
from mpgameserver.stats import plot_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_page"]

# The policy forbids every fetch: whoever passes the page on passes on all of it.
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>mpgameserver demo</title>
<style>
:root { color-scheme: light dark; --fore: #1b1f24; --back: #fff; --faint: #8884; --soft: #667; }
@media (prefers-color-scheme: dark) { :root { --fore: #e6e9ee; --back: #15181c; --soft: #9aa; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--fore); background: var(--back);
  max-width: 800px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.verdict { padding: .6em 1em; border-left: 5px solid #2a9d5c; background: #2a9d5c1a; }
.verdict.failed { border-color: #d1495b; background: #d1495b1a; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5em;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25em .5em; border-bottom: 1px solid var(--faint); }
th:first-child, td:first-child { text-align: left; padding-left: 0; } th { font-weight: 600; }
figure { margin: 1.2em 0; } svg { width: 100%; height: auto; display: block; }
svg text { fill: currentColor; }
.note { color: var(--soft); font-size: 13px; }
</style>
</head>
"""


def report_page(report: DemoReport) -> str:
    """The page, as text to be written in UTF-8."""
    return "\n".join([_HEAD + "<body>", *_body(report), "</body>", "</html>", ""])


def _body(report: DemoReport) -> Iterator[str]:
    yield "<h1>A game over a bad link</h1>"
    yield f"<p>{escape(report.settings.summary())}</p>"
    yield from _verdict(report.problems)
    yield "<h2>The link</h2>"
    yield _table(_conditions(report.settings))
    yield "<h2>The links, second by second</h2>"
    yield from _charts(report.timeline)
    yield "<h2>What was delivered</h2>"
    for part in report.as_tables():
        if part:
            yield _table(part) if isinstance(part, Table) else f"<p>{escape(part)}</p>"
    yield "<h2>The clients</h2>"
    yield _table(_clients(report))


def _verdict(problems: list[str]) -> Iterator[str]:
    if problems:
        items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
        yield f'<div class="verdict failed">It failed:<ul>{items}</ul></div>'
    else:
        yield (
            '<p class="verdict">Every reliable byte arrived exactly once, and every callback '
            "was called once.</p>"
        )


def _conditions(settings: DemoSettings) -> Table:
    rows = [
        ("lost, of the datagrams of each direction", f"{settings.loss:g} %"),
        ("duplicated, of the datagrams of each direction", f"{settings.duplicate:g} %"),
        ("latency, one way", f"{settings.latency:g} ms"),
        ("by which that varies, up and down", f"{settings.jitter:g} ms"),
        ("seed", f"{settings.seed}"),
    ]
    return Table(("what the link does", ""), rows, "")


def _charts(timeline: Timeline) -> Iterator[str]:
    try:
        figure = plot_seconds(
            {"mean of the clients": timeline.latency, "highest": timeline.latency_highest},
            {"sent": timeline.packets_sent, "received": timeline.packets_received},
            {"sent": timeline.bytes_sent, "received": timeline.bytes_received},
        )
    except ImportError as error:
        yield f'<p class="note">There are no charts: {escape(str(error))}</p>'
        return
    figure.axes[-1].set_xlabel("seconds; 0 is the end")
    label = "Latency, packets and bytes per second, of all clients"
    yield f'<figure role="img" aria-label="{label}">{_svg(figure)}</figure>'
    yield f'<p class="note">{label}; the last second is incomplete.</p>'


def _svg(figure: Figure) -> str:
    """The figure as an element of the page, black parts in the colour of the page's text."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):  # text that the page's style reaches
        figure.savefig(file, format="svg", transparent=True)
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace("#000000", "currentColor")


def _clients(report: DemoReport) -> Table:
    rows = [
        (f"{client.number}", milliseconds(client.round_trip), f"{len(client.problems)}")
        for client in report.clients
    ]
    return Table(("client", "round trip at the end, ms", "problems"), rows, "")


def _table(table: Table) -> str:
    def row(cells: Iterator[str]) -> str:
        return f"<tr>{''.join(cells)}</tr>"

    head = row(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = (row(f"<td>{escape(cell)}</td>" for cell in cells) for cells in table.rows)
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
