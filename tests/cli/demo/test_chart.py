"""Line charts as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

from mpgameserver.cli.demo.chart import line_chart, nice_step

POINT = re.compile(r"([\d.]+),([\d.]+)")


def chart(**lines: Sequence[float | None]) -> ElementTree.Element:
    return ElementTree.fromstring(line_chart("Speed", "m/s", lines))


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in POINT.findall(line.attrib["points"])]


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


@pytest.mark.parametrize(
    ("highest", "step"),
    [(0, 1), (1, 0.2), (4.9, 1), (5, 1), (5.1, 2), (30, 10), (1234, 500), (70_000, 20_000)],
)
def test_the_grid_has_round_numbers(highest: float, step: float) -> None:
    assert nice_step(highest) == pytest.approx(step)


def test_higher_values_are_drawn_higher_and_later_ones_further_right() -> None:
    [line] = chart(a=[0, 5, 10]).iter("polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(line)
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


def test_a_gap_parts_the_line_and_each_value_has_a_tip() -> None:
    root = chart(a=[1, 2, None, 4])
    assert [len(points(line)) for line in root.iter("polyline")] == [2, 1]
    tips = [tip.text for tip in root.iter("title")]
    assert tips == ["a, m/s: 1 at 0 s", "a, m/s: 2 at 1 s", "a, m/s: 4 at 3 s"]


def test_all_lines_share_a_scale_and_each_has_its_colour() -> None:
    low, high = chart(low=[1, 1], high=[100, 100]).iter("polyline")
    assert points(low)[0][1] > points(high)[0][1]
    assert low.attrib["class"] != high.attrib["class"]


def test_the_axes_are_labelled() -> None:
    labels = texts(chart(a=[0, 950, 10]))
    assert labels == ["0", "200", "400", "600", "800", "1,000", "0 s", "1 s", "2 s"]
    assert len(texts(chart(a=[7] * 300))) < 20


@pytest.mark.parametrize("values", [[], [None], [0], [0, 0]])
def test_what_has_little_to_show_is_a_chart_too(values: list[float | None]) -> None:
    assert "nan" not in ElementTree.tostring(chart(a=values), encoding="unicode")


def test_text_is_escaped() -> None:
    root = ElementTree.fromstring(line_chart("<&>", '"', {"</svg>": [1]}))
    assert "<&>" in "".join(root.itertext())
