"""Line charts as SVG, to be put into a page of HTML: no script, no font, nothing to be fetched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

__all__ = ["line_chart", "nice_step"]

WIDTH, HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 16, 34
"""The margins, in which the labels are."""
MAX_STEPS = 5
"""Lines of the grid, at most, above that of zero."""

Values = Sequence[float | None]


def nice_step(highest: float, steps: int = MAX_STEPS) -> float:
    """The least of 1, 2 and 5 times a power of ten of which `steps` reach up to `highest`."""
    least = highest / steps if highest > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


class _Scale:
    """The mapping from values to positions on a chart."""

    def __init__(self, lines: Sequence[Values]) -> None:
        self.count = max(map(len, lines), default=0)
        highest = max((v for line in lines for v in line if v is not None), default=0)
        self.step = nice_step(highest)
        self.steps = max(1, math.ceil(highest / self.step - 1e-9))

    def x(self, second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * second / max(1, self.count - 1)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / (self.step * self.steps)


def line_chart(title: str, unit: str, lines: Mapping[str, Values]) -> str:
    """A chart with one line for each name, of one value for each second; None is a gap."""
    scale = _Scale(list(lines.values()))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_grid(scale),
        *_seconds(scale),
        *(
            part
            for number, (name, values) in enumerate(lines.items())
            for part in _line(scale, number, f"{name}, {unit}", values)
        ),
        "</svg>",
    ]
    legend = "".join(
        f'<span class="key line{number}">{escape(name)}</span>' for number, name in enumerate(lines)
    )
    heading = f"<figcaption><b>{escape(title)}</b>, {escape(unit)} {legend}</figcaption>"
    return "<figure>{}{}</figure>".format(heading, "\n".join(parts))


def _grid(scale: _Scale) -> Iterator[str]:
    for number in range(scale.steps + 1):
        value = number * scale.step
        y = scale.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>'


def _seconds(scale: _Scale) -> Iterator[str]:
    last = max(1, scale.count - 1)
    step = max(1, round(nice_step(last, 10)))
    for second in range(0, last + 1, step):
        x = scale.x(second)
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{second} s</text>'


def _line(scale: _Scale, number: int, label: str, values: Values) -> Iterator[str]:
    for run in _runs(values):
        points = " ".join(f"{scale.x(i):.1f},{scale.y(value):.1f}" for i, value in run)
        yield f'<polyline class="line line{number}" points="{points}"/>'
        for i, value in run:
            tip = f"<title>{escape(label)}: {value:,.6g} at {i} s</title>"
            x, y = f"{scale.x(i):.1f}", f"{scale.y(value):.1f}"
            yield f'<circle class="dot line{number}" cx="{x}" cy="{y}" r="2.5">{tip}</circle>'


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    """The stretches without a gap, as pairs of second and value."""
    run: list[tuple[int, float]] = []
    for i, value in enumerate(values):
        if value is not None:
            run.append((i, value))
        elif run:
            yield run
            run = []
    if run:
        yield run
