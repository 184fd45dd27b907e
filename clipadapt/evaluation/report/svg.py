"""Small charts as inline SVG that reads on a phone and on paper.

Each function takes numbers and returns markup; colours come from the page's own classes (`s-base`, `s-model`, `mute`),
so dark mode and print need nothing here. Text inside a chart is kept for axes: everything that must be read stands in
the page beside it. Nothing here knows of rows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape


class Bar(NamedTuple):
    """One figure of a bar chart, as fractions."""

    name: str
    css: str
    mean: float
    low: float | None
    high: float | None


class Dot(NamedTuple):
    """One point of a scatter."""

    x: float
    y: float
    css: str
    title: str


def bars(some: Sequence[Bar], label: str) -> Markup:
    """Horizontal bars from 0 to 1, one under another, each with its interval; they fill the width they are given."""
    height = 16  # pixels; the names beside the bars have lines of this height
    parts = [f'<svg class="bars" viewBox="0 0 100 {height * len(some)}" preserveAspectRatio="none" role="img" ']
    parts.append(f'aria-label="{escape(label)}" style="height:{height * len(some)}px">')
    for row, bar in enumerate(some):
        top = row * height
        parts.append(f'<rect class="track" x="0" y="{top + 3}" width="100" height="{height - 7}"/>')
        parts.append(f'<rect class="{bar.css}" x="0" y="{top + 3}" width="{_pct(bar.mean)}" height="{height - 7}"/>')
        if bar.low is not None and bar.high is not None:
            middle = top + (height - 1) / 2
            ends = (
                f"M{_pct(bar.low)} {middle}H{_pct(bar.high)}"
                f"M{_pct(bar.low)} {middle - 4}v8M{_pct(bar.high)} {middle - 4}v8"
            )
            parts.append(f'<path class="halo" d="{ends}"/><path class="whisker" d="{ends}"/>')
    return Markup("".join(parts) + "</svg>")


def difference(low: float | None, mean: float, high: float | None, limit: float, css: str, label: str) -> Markup:
    """A difference with its interval on an axis from -limit to limit, zero marked."""
    if low is None or high is None:
        low = high = mean
    place = [50 + 50 * max(-1.0, min(1.0, figure / limit)) for figure in (low, mean, high)]
    return Markup(
        f'<svg class="delta" viewBox="0 0 100 16" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<path class="axis" d="M0 8H100"/><path class="zero" d="M50 0V16"/>'
        f'<path class="range {css}" d="M{place[0]:.2f} 8H{place[2]:.2f}"/>'
        f'<path class="mean {css}" d="M{place[1]:.2f} 2V14"/></svg>'
    )


class Line(NamedTuple):
    """One line of a chart; y and its bounds are fractions."""

    css: str
    points: Sequence[tuple[float, float, float | None, float | None]]
    """(x, y, low, high), by rising x."""


_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 300, 34, 38, 8


def scatter(dots: Sequence[Dot], x_label: str, y_label: str, marks: Sequence[float], label: str) -> Markup:
    """Points over a logarithmic x from 0 (drawn at 0.7) and a y from 0 to 1; `marks` are vertical lines."""
    top = max([dot.x for dot in dots] + [10.0])
    last = math.log10(top * 1.3)
    first = math.log10(0.7)

    def across(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * (math.log10(max(x, 0.7)) - first) / (last - first)

    def down(y: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - y)

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">']
    for y in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<path class="axis" d="M{_LEFT} {down(y):.1f}H{_WIDTH - 8}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{down(y) + 4:.1f}" text-anchor="end">{round(100 * y)}</text>')
    for power in range(math.ceil(last)):
        x = 10**power
        if x <= top * 1.3:
            parts.append(f'<text x="{across(x):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{_thousands(x)}</text>')
    parts += [f'<path class="zero" d="M{across(mark):.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>' for mark in marks]
    parts += [
        f'<circle class="{dot.css}" cx="{across(dot.x):.1f}" cy="{down(dot.y):.1f}" r="4.5">'
        f"<title>{escape(dot.title)}</title></circle>"
        for dot in dots
    ]
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="mute" x="{_LEFT + 4}" y="{_TOP + 12}">{escape(y_label)}</text>')
    return Markup("".join(parts) + "</svg>")


def curves(lines: Sequence[Line], x_label: str, y_label: str, floor: float, mark: float, label: str) -> Markup:
    """Lines with their intervals over x from 0 to 1; y is drawn in points, with zero, a floor and a marked x."""
    found = [figure for line in lines for point in line.points for figure in point[1:] if figure is not None]
    low, high = min([*found, floor, -0.02]), max([*found, 0.02])

    def across(x: float) -> float:
        return _LEFT + 6 + (_WIDTH - _LEFT - 20) * x

    def down(y: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - y) / (high - low)

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">']
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / one <= 8)
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        y = number * step
        parts.append(f'<path class="axis" d="M{_LEFT} {down(y):.1f}H{_WIDTH - 8}"/>')
        tick = f"{round(100 * y):+d}" if number else "0"
        parts.append(f'<text x="{_LEFT - 5}" y="{down(y) + 4:.1f}" text-anchor="end">{tick}</text>')
    parts += [
        f'<text x="{across(x):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{x:g}</text>'
        for x in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    parts.append(f'<path class="zero" d="M{_LEFT} {down(floor):.1f}H{_WIDTH - 8}"/>')
    parts.append(f'<path class="zero" d="M{across(mark):.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
    for place, line in enumerate(lines):  # bounds stand beside each other
        places = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y, _, _ in line.points)
        parts.append(f'<polyline class="line {line.css}" points="{places}"/>')
        parts += [
            f'<path class="bound {line.css}" d="M{across(x) + 3 * place:.1f} {down(below):.1f}V{down(above):.1f}"/>'
            for x, _, below, above in line.points
            if below is not None and above is not None
        ]
        parts += [
            f'<circle class="{line.css}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="4"/>' for x, y, _, _ in line.points
        ]
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="mute" x="{_LEFT + 4}" y="{_TOP + 12}">{escape(y_label)}</text>')
    return Markup("".join(parts) + "</svg>")


def reliability(points: Sequence[tuple[float, float, int]], css: str, label: str) -> Markup:
    """Confidence against accuracy over the unit square, ticks in percent; a point's area is its share of the items."""
    total = max(sum(items for _, _, items in points), 1)
    parts = [f'<svg class="square" viewBox="-26 -6 134 134" role="img" aria-label="{escape(label)}">']
    parts.append('<rect class="track" x="0" y="0" width="100" height="100"/><path class="zero" d="M0 100L100 0"/>')
    for tick in (0, 50, 100):
        parts.append(f'<path class="axis" d="M{tick} 100v3M0 {100 - tick}h-3"/>')
        parts.append(f'<text x="{tick}" y="112" text-anchor="middle">{tick}</text>')
        parts.append(f'<text x="-5" y="{103 - tick}" text-anchor="end">{tick}</text>')
    parts.append('<text class="mute" x="50" y="125" text-anchor="middle">stated, %</text>')
    parts.append('<text class="mute" transform="translate(-19 50) rotate(-90)" text-anchor="middle">right, %</text>')
    for confidence, accuracy, items in points:
        if items:
            parts.append(
                f'<circle class="{css}" cx="{100 * confidence:.1f}" cy="{100 - 100 * accuracy:.1f}" '
                f'r="{2 + 9 * math.sqrt(items / total):.1f}"><title>{items} items: stated {100 * confidence:.0f}%, '
                f"right {100 * accuracy:.0f}%</title></circle>"
            )
    return Markup("".join(parts) + "</svg>")


class Series(NamedTuple):
    """One line of a plain chart, by rising x."""

    css: str
    points: Sequence[tuple[float, float]]
    marked: bool = False
    """Whether each point is drawn, for lines of few points."""


def line_chart(lines: Sequence[Series], x_label: str, y_label: str, label: str, *, percent: bool = False) -> Markup:
    """Lines over x from 0 on; y from 0, or from a little below where the figures stay far from it."""
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    top, low = max(ys), min(ys)
    low = 0.0 if low < top / 2 else low - 0.1 * (top - low or top or 1.0)
    width, height, last = top - low or 1.0, _HEIGHT - 60, max(max(xs), 1e-9)

    def across(x: float) -> float:
        return _LEFT + 6 + (_WIDTH - _LEFT - 20) * x / last

    def down(y: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (low + width * 1.05 - y) / (width * 1.05)

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for y in _ticks(low, top):
        tick = f"{100 * y:.3g}" if percent else f"{y:.3g}"
        parts.append(f'<path class="axis" d="M{_LEFT} {down(y):.1f}H{_WIDTH - 8}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{down(y) + 4:.1f}" text-anchor="end">{tick}</text>')
    parts += [
        f'<text x="{across(x):.1f}" y="{height - 22}" text-anchor="middle">{x:g}</text>' for x in _ticks(0.0, last)
    ]
    for line in lines:
        places = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line {line.css}" points="{places}"/>')
        parts += [
            f'<circle class="{line.css}" cx="{across(x):.1f}" cy="{down(y):.1f}" r="4"/>'
            for x, y in (line.points if line.marked else ())
        ]
    parts.append(f'<text x="{_WIDTH / 2}" y="{height - 5}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text class="mute" x="{_LEFT + 8}" y="{_TOP + 10}">{escape(y_label)}</text>')
    return Markup("".join(parts) + "</svg>")


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within the bounds, at most seven."""
    wide = high - low or 1.0
    step = next(size * 10**power for power in range(-6, 12) for size in (1, 2, 5) if wide / (size * 10.0**power) <= 6)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _pct(fraction: float) -> str:
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}"


def _thousands(number: int) -> str:
    return f"{number // 1000}k" if number >= 1000 else str(number)
