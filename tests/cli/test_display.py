"""Tables on a terminal and elsewhere."""

from __future__ import annotations

import builtins
import io
import sys

import pytest

from mpgameserver.cli.display import (
    Display,
    PlainDisplay,
    RichDisplay,
    Table,
    kilobytes,
    milliseconds,
    open_display,
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
