"""Tables on a terminal: redrawn in place with rich if it is installed, otherwise plain lines.

rich is the extra `cli`. Without it, or if the output is not a terminal, progress is printed as a
line per second, and tables are columns of plain text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

__all__ = [
    "Cell",
    "Display",
    "PlainDisplay",
    "RichDisplay",
    "Table",
    "bar",
    "kilobytes",
    "milliseconds",
    "open_display",
    "sparkline",
]

LINE_INTERVAL = 1.0
"""Seconds between two plain lines."""
GAP = 2
"""Columns between tables that are side by side."""
REDRAW_INTERVAL = 0.25
"""Seconds between two drawings of the live table: as often as figures can be read."""
MAX_WIDTH = 1000
"""Columns of a terminal in which every table fits."""
BAR_WIDTH = 8
_SPARKS = "▁▂▃▄▅▆▇"  # no full block: it would touch the line above
_ASCII = str.maketrans("─━▁▂▃▄▅▆▇", ".#_,:-=+*")
"""For terminals whose encoding has no such characters."""


class Cell(str):
    """Text with one of rich's styles, which only a terminal shows."""

    style: str

    def __new__(cls, text: str, style: str) -> Cell:
        """Return the text in that style."""
        cell = super().__new__(cls, text)
        cell.style = style
        return cell


@dataclass(frozen=True)
class Table:
    """Text in rows and columns: the first column is aligned left, the others right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    """One line that says the most important of it."""
    note: str = ""
    """A line below the caption, which only a terminal shows."""
    spare: Sequence[str] = ()
    """The columns that a narrow terminal goes without, the first to go first."""

    def without(self, column: str) -> Table:
        """The table without a column."""
        place = self.columns.index(column)
        columns, *rows = ([*row[:place], *row[place + 1 :]] for row in (self.columns, *self.rows))
        return replace(self, columns=columns, rows=rows)


class Display(AbstractContextManager["Display"]):
    """A display of progress between entering and leaving it; this base class shows nothing."""

    interval: float = float("inf")
    """Seconds between two times to show something."""

    def __init__(self) -> None:
        self._next = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what was shown last."""

    def is_due(self) -> bool:
        """True when it is time to show something; then not again before the next time."""
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + self.interval
        return True

    def show(self, *tables: Table) -> None:
        """Show how things are now: several tables side by side, but for the last, which is below.

        The caption of the first says the most important of all.
        """

    def print(self, *parts: Table | str) -> None:
        """Print what stays, one part below the other."""


class PlainDisplay(Display):
    """Plain text: while things go on, the captions."""

    interval: float = LINE_INTERVAL

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def show(self, *tables: Table) -> None:
        """Print the first caption."""
        self.print(tables[0].caption)

    def print(self, *parts: Table | str) -> None:
        """Print the parts; a table without its caption."""
        for part in parts:
            lines = [part] if isinstance(part, str) else _lines(part)
            print(*lines, sep="\n", file=self._stream, flush=True)


class RichDisplay(Display):
    """A terminal: while things go on, a table that is redrawn in place.

    Raises ImportError where rich is not installed.
    """

    interval: float = REDRAW_INTERVAL

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._widths: dict[tuple[str, ...], list[int]] = {}
        """The widest that each column of a table has been, by the names of its columns."""

    def __enter__(self) -> Display:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the last table where it is."""
        self._live.stop()

    def show(self, *tables: Table) -> None:
        """Draw the tables in place of those before."""
        from rich import box
        from rich.console import Group

        *narrow, last = tables
        if not narrow:
            below = self._fitting(last, box=box.SIMPLE_HEAD)
            above = [self._text(line) for line in (last.caption, last.note) if line]
            self._live.update(Group(*above, below), refresh=True)
            return
        beside = _side_by_side(self._console, [self._drawn(table) for table in narrow])
        below = self._fitting(last, break_names=True)
        parts: list[RenderableType] = [self._text(narrow[0].caption), "", *beside, "", below]
        self._live.update(Group(*parts, *filter(None, [last.caption])), refresh=True)

    def print(self, *parts: Table | str) -> None:
        """Print the parts; a table without its caption."""
        from rich import box

        for part in parts:
            if isinstance(part, Table):
                self._console.print(self._drawn(part, box=box.SIMPLE_HEAD))
            else:
                self._console.print(self._text(part), soft_wrap=True)

    def _fitting(self, table: Table, **style: Any) -> RichTable:
        """Lay a table out with the columns that there is room for."""
        unlimited = self._console.options.update(width=MAX_WIDTH)
        for column in table.spare:
            drawn = self._drawn(table, **style)
            if self._console.measure(drawn, options=unlimited).maximum <= self._console.width:
                return drawn
            table = table.without(column)
        return self._drawn(table, **style)

    def _drawn(self, table: Table, break_names: bool = False, **style: Any) -> RichTable:
        """Lay a table out, without lines or with those of the `box` in `style`.

        Names of columns may be broken at spaces, so that a column is no wider than what is in it.
        A column never gets narrower than it was, or the table would move with every figure.
        """
        from rich.table import Table as RichTable

        style = {"box": None, "padding": (0, 1), "header_style": "bold cyan"} | style
        drawn = RichTable(pad_edge=False, collapse_padding=True, **style)
        names = [name.replace(" ", "\n") if break_names else name for name in table.columns]
        widths = self._widths.setdefault(tuple(table.columns), [0] * len(names))
        for place, name in enumerate(names):
            cells = [*name.split("\n"), *(row[place] for row in table.rows)]
            widths[place] = max(widths[place], *map(len, cells))
            justify: Any = "right" if place else "left"
            drawn.add_column(name, justify=justify, vertical="bottom", min_width=widths[place])
        for row in table.rows:
            drawn.add_row(*map(self._text, row))
        return drawn

    def _text(self, text: str) -> Text:
        from rich.text import Text

        style = text.style if isinstance(text, Cell) else ""
        return Text(text.translate(_ASCII) if self._console.options.ascii_only else text, style)


def open_display(stream: TextIO) -> Display:
    """The display that fits the stream and what is installed."""
    if stream.isatty():
        try:
            return RichDisplay(stream)
        except ImportError:
            pass
    return PlainDisplay(stream)


def _lines(table: Table) -> Iterator[str]:
    """The table in columns as wide as their content, for a pipe or without rich."""
    rows = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _, *others = map(str.rjust, row, widths)
        yield "  ".join([row[0].ljust(widths[0]), *others]).rstrip()


def _side_by_side(console: Console, tables: Sequence[RichTable]) -> Iterator[RichTable]:
    """The tables in rows, with as many beside each other as there is room for.

    Not rich's Columns: there the tables of a column are as wide as the widest, and fewer fit.
    """
    row: list[RichTable] = []
    taken = 0
    for table in tables:
        width = console.measure(table).maximum + GAP
        if row and taken + width > console.width + GAP:
            yield _grid(row)
            row, taken = [], 0
        row.append(table)
        taken += width
    yield _grid(row)


def _grid(row: Sequence[RichTable]) -> RichTable:
    from rich.table import Table as RichTable

    grid = RichTable.grid(padding=(0, GAP))
    grid.add_row(*row)
    return grid


def bar(share: float) -> Cell:
    """A bar of constant width for a share from 0 to 1, which is full only at 1."""
    full = int(share * BAR_WIDTH)
    return Cell("━" * full + "─" * (BAR_WIDTH - full), "green" if share >= 1 else "yellow")


def sparkline(values: Sequence[float | None], top: float = 0.0) -> Cell:
    """One character for each value, from 0 to the highest of them or `top`; " " for None."""
    highest = max((value for value in values if value is not None), default=0.0)
    scale = (len(_SPARKS) - 1) / (max(highest, top) or 1.0)
    marks = (" " if value is None else _SPARKS[round(value * scale)] for value in values)
    return Cell("".join(marks), "cyan")


def milliseconds(seconds: float | None) -> str:
    """Seconds as a number of milliseconds, with a decimal below 100; "-" for None."""
    return "-" if seconds is None else _short(seconds * 1000)


def kilobytes(count: float | None) -> str:
    """Bytes as a number of kilobytes (1,000 bytes), with a decimal below 100; "-" for None."""
    return "-" if count is None else _short(count / 1000)


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
