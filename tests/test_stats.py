"""Percentiles, and `ConnectionStats.plot`: what is drawn, and what is said without matplotlib."""

from __future__ import annotations

import io
import math
import sys
from typing import TYPE_CHECKING

import pytest

from mpgameserver.stats import ConnectionStats, percentile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Warnings of imports of an old matplotlib do not matter here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUIET = [0] * 297


@pytest.fixture
def figure() -> Figure:
    """Of a connection whose first second was 2 s ago."""
    return ConnectionStats(
        latency=[*QUIET, 40, 0, 60],
        pkts_sent=[*QUIET, 1, 2, 3],
        pkts_recv=[*QUIET, 4, 5, 6],
        bytes_sent=[*QUIET, 1000, 2000, 500],
        bytes_recv=[*QUIET, 10, 20, 30],
    ).plot()


def test_latency_packets_and_bytes_are_drawn_per_second(figure: Figure) -> None:
    latency, packets, octets = figure.axes
    assert latency.get_ylabel() == "latency (ms)"
    [round_trip] = latency.lines
    assert list(round_trip.get_xdata()) == list(range(-9, 1))
    sent, received = packets.lines
    assert (sent.get_label(), received.get_label()) == ("sent", "received")
    assert list(sent.get_ydata())[-3:] == [1, 2, 3]
    assert list(received.get_ydata())[-3:] == [4, 5, 6]
    sent, received = octets.lines
    assert list(sent.get_ydata())[-3:] == [1.0, 2.0, 0.5]
    assert list(received.get_ydata())[-3:] == [0.01, 0.02, 0.03]


@pytest.mark.parametrize(("lasted", "shown"), [(0, 10), (10, 10), (11, 11), (299, 299), (300, 300)])
def test_the_session_is_drawn_and_not_the_time_before_it(lasted: int, shown: int) -> None:
    sent = [0] * (300 - lasted) + [1] * lasted
    packets = ConnectionStats(pkts_sent=sent).plot().axes[1].lines[0]
    assert list(packets.get_xdata()) == list(range(1 - shown, 1))
    assert list(packets.get_ydata()) == sent[-shown:]


def test_a_second_without_an_ack_is_a_gap(figure: Figure) -> None:
    [round_trip] = figure.axes[0].lines
    *_, first, second, third = round_trip.get_ydata()
    assert (first, third) == (40, 60)
    assert math.isnan(second)


def test_no_line_touches_the_edge(figure: Figure) -> None:
    highest = [60, 6, 2.0]
    for axes, value in zip(figure.axes, highest, strict=True):
        bottom, top = axes.get_ylim()
        assert bottom == 0
        assert value < top < 1.3 * value


def test_the_figure_is_written_without_a_screen(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


def test_a_connection_that_never_was_has_a_picture() -> None:
    assert len(ConnectionStats().plot().axes) == 3


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install matplotlib"):
        ConnectionStats().plot()


def test_a_percentile_is_one_of_the_values():
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 99) == 5.0
    assert percentile(values, 20) == 1.0
    assert percentile(values, 21) == 2.0
    assert percentile(values, 100) == 5.0
    assert percentile([7.0], 1) == 7.0


def test_the_99th_percentile_of_200_values_leaves_two_above():
    assert percentile(range(1, 201), 99) == 198


def test_a_percentile_of_nothing_and_one_out_of_range_are_mistakes():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    for percent in (0, -1, 100.5):
        with pytest.raises(ValueError, match="percent must be"):
            percentile([1.0], percent)
