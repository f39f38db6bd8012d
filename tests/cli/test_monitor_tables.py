"""A server's figures as tables."""

from __future__ import annotations

import io

import pytest

from mpgameserver.cli.display import Cell, PlainDisplay, RichDisplay, Table
from mpgameserver.cli.monitor_tables import MonitorView
from mpgameserver.server.stats import ConnectionFigures, ServerFigures, ServerStats

CONNECTION = ConnectionFigures("192.0.2.1:5000", 2, 12.0, 0.0512, 200, 100, 20, 7, 3, 4500)
BEFORE = ServerFigures(
    uptime=10.0,
    ticks=600,
    receive_seconds=1.0,
    handler_seconds=2.0,
    send_seconds=3.0,
    datagrams_received=1000,
    bytes_received=50_000,
    stats=ServerStats(
        ends={"closed by client": 5},
        drops={"authentication failed": 3},
        send_errors={"EPERM": 10},
    ),
)
NOW = ServerFigures(
    uptime=12.0,
    ticks=720,
    receive_seconds=1.12,
    handler_seconds=2.24,
    send_seconds=3.06,
    datagrams_received=3000,
    bytes_received=450_000,
    datagrams_sent=400,
    bytes_sent=80_000,
    packets_sent=500,
    packets_timed_out=5,
    retransmitted=20,
    messages_repeated=6,
    send_queue_bytes=123_000,
    reassembly_bytes=4_000,
    events_waiting=7,
    latency_median=0.04,
    latency_p99=0.25,
    stats=ServerStats(
        clients=40,
        protocols={"1": 3, "2": 37},
        half_open=2,
        ends={"timeout": 1, "closed by client": 9},
        moves=4,
        drops={"authentication failed": 5, "busy": 9},
        send_errors={"EPERM": 30},
    ),
    connections=(CONNECTION,),
)


@pytest.fixture
def tables() -> dict[str, Table]:
    view = MonitorView()
    view.take(BEFORE)
    return {table.columns[0]: table for table in view.take(NOW)}


def test_what_could_not_be_sent_is_told_once_there_is_any(tables: dict[str, Table]) -> None:
    assert tables["cannot send"].rows == [("EPERM", "10.0", "30")]
    columns = [table.columns[0] for table in MonitorView().take(ServerFigures())]
    assert "cannot send" not in columns


def test_the_time_of_a_tick_is_split(tables: dict[str, Table]) -> None:
    assert tables["tick"].rows == [
        ("receive", "1.000"),
        ("handler", "2.000"),
        ("send", "0.500"),
        ("all", "3.500"),
    ]


def test_rates_are_those_since_the_snapshot_before(tables: dict[str, Table]) -> None:
    assert tables["traffic"].rows == [("in", "1,000", "200"), ("out", "200", "40.0")]


def test_the_links_are_summed_up(tables: dict[str, Table]) -> None:
    assert tables["links"].rows == [
        ("latency, median", "40.0 ms", "       ▇"),
        ("latency, p99", "250 ms", ""),
        ("packets lost", "1.0%", "      ▁▂"),
        ("retransmitted", "10/s", ""),
    ]


def test_the_last_eight_snapshots_are_kept_as_sparklines() -> None:
    view = MonitorView()
    for second in range(1, 13):
        tables = view.take(ServerFigures(uptime=second, latency_median=0.01 * second))
    links = next(table for table in tables if table.columns[0] == "links")
    assert links.columns[2] == "last 8"
    assert links.rows[0][2] == "▃▄▅▅▅▆▇▇"


@pytest.mark.parametrize(("timeouts", "style"), [(0, ""), (2, "yellow"), (20, "red")])
def test_a_client_that_loses_much_stands_out(timeouts: int, style: str) -> None:
    client = ConnectionFigures("192.0.2.1:5000", 2, 12.0, 0.05, 100, 100, timeouts, 0, 0, 0)
    [*_, connections] = MonitorView().take(ServerFigures(connections=(client,)))
    lost = connections.rows[0][connections.columns.index("lost")]
    assert isinstance(lost, Cell)
    assert lost.style == style


def test_what_waits_is_told(tables: dict[str, Table]) -> None:
    rows = dict(tables["waiting"].rows)
    assert rows["send queues"] == "123 kB"
    assert rows["incomplete messages"] == "4.0 kB"
    assert rows["events"] == "7"
    assert rows["half-open handshakes"] == "2"


def test_drops_are_told_with_their_reasons_the_most_frequent_first(
    tables: dict[str, Table],
) -> None:
    assert tables["dropped"].rows == [
        ("busy", "4.5", "9"),
        ("message repeated", "3.0", "6"),
        ("authentication failed", "1.0", "5"),
    ]


def test_what_became_of_sessions_is_told_once_there_is_any(tables: dict[str, Table]) -> None:
    assert tables["sessions"].rows == [
        ("closed by client", "2.0", "9"),
        ("changed address", "2.0", "4"),
        ("timeout", "0.5", "1"),
    ]
    columns = [table.columns[0] for table in MonitorView().take(ServerFigures())]
    assert "sessions" not in columns


def test_the_listed_connections_have_a_row_each(tables: dict[str, Table]) -> None:
    table = tables["client"]
    row = ("192.0.2.1:5000", "2", "12", "51.2", "200", "100", "10.0%", "7", "3", "4.5")
    assert table.rows == [row]
    assert len(table.columns) == len(row)
    assert table.caption == "and 39 with shorter round trips"


def test_protocol_1_is_told_while_anybody_speaks_it() -> None:
    stats = ServerStats(clients=2, protocols={"1": 0, "2": 2})
    loop, *_ = MonitorView().take(ServerFigures(stats=stats))
    assert "2 clients, " in loop.caption


def test_one_line_says_the_most_important(tables: dict[str, Table]) -> None:
    assert tables["tick"].caption == (
        "up 12 s, 40 clients (3 by protocol 1), 60 ticks/s, load 21%, "
        "1,000 datagrams/s in, 200 out, latency 40.0 ms, p99 250"
    )


def test_a_server_that_was_started_again_begins_anew() -> None:
    view = MonitorView()
    view.take(NOW)
    again = ServerFigures(uptime=1.0, ticks=60, datagrams_received=10)
    loop, traffic, *_ = view.take(again)
    assert "60 ticks/s" in loop.caption
    assert traffic.rows[0] == ("in", "10", "0.0")


def test_a_server_that_has_just_begun_has_tables_too() -> None:
    tables = MonitorView().take(ServerFigures())
    assert [len(table.rows) for table in tables] == [4, 2, 4, 7, 1, 0]


def test_plain_output_is_a_line_for_each_snapshot() -> None:
    stream, view = io.StringIO(), MonitorView()
    display = PlainDisplay(stream)
    for figures in (BEFORE, NOW):
        display.show(*view.take(figures))
    first, second = stream.getvalue().splitlines()
    assert first.startswith("up 10 s, 0 clients")
    assert second.startswith("up 12 s, 40 clients")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (140, 50)])
def test_a_terminal_has_all_the_tables(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: int
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(lines))
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with RichDisplay(stream) as display:
        display.show(*MonitorView().take(NOW))
    text = stream.getvalue()
    for words in ("up 12 s", "handler", "kB/s", "p99", "incomplete", "busy", "192.0.2.1:5000"):
        assert words in text
    assert "and 39 with shorter round trips" in text


def test_a_small_terminal_has_every_reason_of_drops_and_some_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    reasons = (
        "authentication failed",
        "busy",
        "no session",
        "malformed hello",
        "stale hello",
        "invalid response",
        "full",
    )
    drops = {reason: 1000 + place for place, reason in enumerate(reasons)}
    figures = ServerFigures(
        uptime=12.0,
        latency_median=0.04,
        latency_p99=0.25,
        stats=ServerStats(clients=40, drops=drops),
        connections=(CONNECTION,) * 32,
    )
    with RichDisplay(stream) as display:
        display.show(*MonitorView().take(figures))
        text = stream.getvalue()
    for reason in reasons:
        assert reason in text
    assert text.count(CONNECTION.address) >= 3
