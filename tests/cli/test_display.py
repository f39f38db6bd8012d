"""Tables on a terminal and elsewhere."""

from __future__ import annotations

import builtins
import io
import re
import sys
from dataclasses import replace

import pytest

from mpgameserver.cli.display import (
    Cell,
    Display,
    PlainDisplay,
    RichDisplay,
    Table,
    bar,
    kilobytes,
    milliseconds,
    open_display,
    sparkline,
)

TABLE = Table(("client", "sent"), [("1", "12"), ("second", "3")], "15 sent")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_where_there_is_no_terminal_captions_tell_what_goes_on_and_tables_are_plain():
    stream = io.StringIO()
    display = open_display(stream)
    assert isinstance(display, PlainDisplay)
    with display:
        display.show(TABLE)
    display.print("done", TABLE)
    assert stream.getvalue() == "15 sent\ndone\nclient  sent\n1         12\nsecond     3\n"


def test_on_a_terminal_the_table_is_redrawn_in_place():
    pytest.importorskip("rich")
    stream = Terminal()
    display = open_display(stream)
    assert isinstance(display, RichDisplay)
    with display:
        display.show(TABLE)
        display.show(TABLE)
    assert "\x1b[" in stream.getvalue()
    assert "second" in stream.getvalue()
    assert "15 sent" in stream.getvalue()
    display.print("[::1]:bulb: [not markup]", TABLE)
    assert "[::1]:bulb: [not markup]" in stream.getvalue()


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch):
    real_import = builtins.__import__

    def without_rich(name, *rest):
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return real_import(name, *rest)

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_rich)
    assert isinstance(open_display(Terminal()), PlainDisplay)


def test_something_is_due_at_once_and_then_not_before_the_interval_is_over(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("mpgameserver.cli.display.time.perf_counter", lambda: now[0])
    display = PlainDisplay(io.StringIO())
    assert display.is_due()
    assert not display.is_due()
    now[0] += display.interval
    assert display.is_due()


def test_a_display_that_shows_nothing_shows_nothing(capsys):
    with Display() as display:
        display.show(TABLE)
        display.print("text", TABLE)
    assert capsys.readouterr() == ("", "")


def test_times_are_shown_in_milliseconds_and_sizes_in_kilobytes():
    assert milliseconds(0.05234) == "52.3"
    assert milliseconds(1.5) == "1500"
    assert milliseconds(None) == "-"
    assert kilobytes(15_449) == "15.4"
    assert kilobytes(1_048_576) == "1049"
    assert kilobytes(None) == "-"


class TestOnATerminal:
    """Colours, and columns that neither move nor go beyond the edge."""

    @pytest.fixture(autouse=True)
    def screen(self, monkeypatch):
        pytest.importorskip("rich")
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("LINES", "24")

    def shown(self, monkeypatch, width: int, *tables: Table) -> list[str]:
        """The lines of the last of the tables."""
        monkeypatch.setenv("COLUMNS", str(width))
        stream = Terminal()
        with open_display(stream) as display:
            for table in tables:
                display.show(table)
                last = stream.getvalue()
                stream.seek(0)
                stream.truncate()
        plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", last)
        return [line.rstrip() for line in plain.splitlines() if line.strip()]

    def test_a_caption_and_a_note_stand_above_the_table(self, monkeypatch):
        lines = self.shown(monkeypatch, 80, replace(TABLE, note="a note"))
        assert lines[:2] == ["15 sent", "a note"]

    @pytest.mark.parametrize("wants_none", [False, True])
    def test_a_cell_has_its_colour_unless_nobody_wants_colours(self, monkeypatch, wants_none):
        if wants_none:
            monkeypatch.setenv("NO_COLOR", "1")
        stream = Terminal()
        with open_display(stream) as display:
            display.show(replace(TABLE, rows=[("1", Cell("12", "red"))]))
        assert ("\x1b[31m" in stream.getvalue()) is not wants_none

    def test_a_column_stays_as_wide_as_it_was(self, monkeypatch):
        wide, narrow = (replace(TABLE, rows=[("1", sent)]) for sent in ("12345678", "1"))
        before = self.shown(monkeypatch, 80, wide)
        after = self.shown(monkeypatch, 80, wide, narrow)
        assert before[-1].endswith("12345678")
        assert after[-1].endswith(" 1")
        assert len(after[-1]) == len(before[-1])

    @pytest.mark.parametrize(("width", "columns"), [(46, "abcd"), (36, "acd"), (24, "ac")])
    def test_a_narrow_terminal_goes_without_the_spare_columns(self, monkeypatch, width, columns):
        table = Table(tuple("abcd"), [("x" * 8,) * 4], "", spare=("b", "d"))
        shown = self.shown(monkeypatch, width, table)
        assert [line.split() for line in shown if "a" in line] == [list(columns)]

    def test_more_rows_than_lines_are_all_there_in_the_end(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        stream = Terminal()
        table = replace(TABLE, rows=[(f"client {number}", "1") for number in range(32)])
        with open_display(stream) as display:
            display.show(table)
            assert "client 31" not in stream.getvalue()
            assert "15 sent" in stream.getvalue()
        assert "client 31" in stream.getvalue()

    def test_a_terminal_without_such_characters_gets_other_characters(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "80")
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        display = RichDisplay(stream)
        display.print(bar(0.5), sparkline([0.0, 1.0]))
        stream.flush()
        assert b"####...." in stream.buffer.getvalue()
        assert b"_*" in stream.buffer.getvalue()


def test_a_bar_is_full_only_when_nothing_is_missing():
    assert bar(0.0) == "─" * 8
    assert bar(0.5) == "━━━━────"
    assert (bar(0.999), bar(0.999).style) == ("━━━━━━━─", "yellow")
    assert (bar(1.0), bar(1.0).style) == ("━" * 8, "green")


def test_a_sparkline_goes_from_zero_to_the_highest_value():
    assert sparkline([0.0, None, 10.0, 20.0]) == "▁ ▄▇"
    assert sparkline([1.0], top=10.0) == "▂"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([None]) == " "
