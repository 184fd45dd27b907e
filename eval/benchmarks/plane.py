"""Two figures of several systems as a plane: a self-contained SVG file, readable on white and on dark pages.

A dot's name stands beside it and its figures in its tooltip; what is up and to the right of a dot is better on both.
Nothing here knows what the figures mean.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 420, 52, 24, 100, 44
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#333}.axis{stroke:#8884;fill:none}
.own{fill:#c2410c}.other{fill:#2563eb}.own-name{font-weight:700}
@media(prefers-color-scheme:dark){text{fill:#ddd}}
"""


class Mark(NamedTuple):
    """One system; x and y are fractions."""

    name: str
    x: float
    y: float
    own: bool = False
    """Drawn as the one that the others are compared with."""


def plane(marks: Sequence[Mark], x_label: str, y_label: str) -> str:
    """The SVG's text; axes are in percent and span what the marks span.

    Raises:
        ValueError: no marks.
    """
    if not marks:
        raise ValueError("a plane of nothing")
    across, down = _scale([mark.x for mark in marks]), _scale([mark.y for mark in marks])

    def at(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (x - across[0]) / (across[1] - across[0])
        below = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - down[0]) / (down[1] - down[0])
        return round(right, 1), round(below, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(y_label)} against {escape(x_label)}"><style>{_STYLE}</style>'
    ]
    for x in _ticks(*across):
        place, bottom = at(x, down[0])
        parts.append(f'<path class="axis" d="M{place} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{place}" y="{bottom + 16}" text-anchor="middle">{100 * x:.0f}</text>')
    for y in _ticks(*down):
        left, place = at(across[0], y)
        parts.append(f'<path class="axis" d="M{left} {place}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{left - 6}" y="{place + 4}" text-anchor="end">{100 * y:.0f}</text>')
    for mark, label in zip(marks, _apart([at(mark.x, mark.y) for mark in marks]), strict=True):
        x, y = at(mark.x, mark.y)
        css = "own" if mark.own else "other"
        said = f"{escape(mark.name)}: {100 * mark.x:.1f}, {100 * mark.y:.1f}"
        parts.append(f'<circle class="{css}" cx="{x}" cy="{y}" r="5"><title>{said}</title></circle>')
        parts.append(f'<text class="{css}-name" x="{x + 9}" y="{label + 4}">{escape(mark.name)}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}, %</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 9}">{escape(y_label)}, %</text></svg>')
    return "\n".join(parts) + "\n"


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Bounds with some room on either side."""
    low, high = min(values), max(values)
    room = max(0.01, 0.08 * (high - low))
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    step = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / one <= 8)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _apart(places: Sequence[tuple[float, float]]) -> list[float]:
    """The height of each name, moved down where names of near dots would lie on one another."""
    heights = [y for _, y in places]
    order = sorted(range(len(places)), key=lambda number: places[number][1])
    for position, number in enumerate(order):
        for earlier in order[:position]:
            if abs(places[number][0] - places[earlier][0]) < 90 and heights[number] - heights[earlier] < 13:
                heights[number] = heights[earlier] + 13
    return heights
