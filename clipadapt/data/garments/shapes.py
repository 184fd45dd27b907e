"""A category and a cut -> the polygons of a garment lying flat, before pose.

Coordinates: x to the right, y down, both about -1 to 1, the shoulders or the waist near the top. A cut is one change of
coordinates that fits every category. Half a garment is written down and mirrored. Knows nothing of colour or light.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "_ 2"]
Outline = Sequence[tuple[float, float]]


class Shape(NamedTuple):
    """A garment's outline."""

    parts: list[Points]
    """Filled polygons; together they are the garment."""
    seams: list[Points]
    """Lines drawn darker: collars, plackets, waistbands."""
    top: float
    hem: float
    """The y of the garment's upper and lower end before the cut."""


_LONG_SLEEVE: Outline = [(0.40, -0.72), (0.58, -0.64), (0.86, 0.22), (0.70, 0.30), (0.42, -0.28)]
_SHORT_SLEEVE: Outline = [(0.40, -0.72), (0.56, -0.66), (0.82, -0.28), (0.64, -0.14), (0.42, -0.36)]
_BODY: Outline = [(0.0, -0.66), (0.16, -0.74), (0.44, -0.70), (0.42, -0.30), (0.42, 0.50), (0.0, 0.50)]
_WIDE_BODY: Outline = [(0.0, -0.66), (0.18, -0.74), (0.48, -0.70), (0.47, -0.20), (0.48, 0.46), (0.0, 0.46)]
_BODICE: Outline = [(0.0, -0.58), (0.12, -0.74), (0.30, -0.72), (0.32, -0.40), (0.24, -0.08), (0.0, -0.08)]
_COLLAR: Outline = [(0.0, -0.56), (0.17, -0.76), (0.24, -0.60), (0.0, -0.50)]
_PLACKET: Outline = [(0.03, -0.52), (0.03, 0.48)]

_HALVES: dict[str, tuple[list[Outline], list[Outline]]] = {
    "t-shirt": ([_BODY, _SHORT_SLEEVE], [[(0.0, -0.60), (0.16, -0.74)]]),
    "shirt": ([_BODY, _LONG_SLEEVE], [_COLLAR, _PLACKET]),
    "sweater": ([_WIDE_BODY, _LONG_SLEEVE], [[(0.0, 0.38), (0.48, 0.38)], [(0.68, 0.20), (0.86, 0.12)]]),
    "hoodie": (
        [_WIDE_BODY, _LONG_SLEEVE, [(0.0, -0.98), (0.20, -0.94), (0.28, -0.70), (0.0, -0.50)]],
        [[(0.0, 0.0), (0.22, 0.02), (0.30, 0.30), (0.0, 0.30)], [(0.0, -0.88), (0.16, -0.80), (0.0, -0.56)]],
    ),
    "tank top": ([[(0.0, -0.40), (0.16, -0.74), (0.28, -0.74), (0.38, -0.28), (0.40, 0.50), (0.0, 0.50)]], []),
    "jacket": (
        [_WIDE_BODY, _LONG_SLEEVE],
        [[(0.0, -0.10), (0.16, -0.72)], [(0.01, -0.1), (0.01, 0.46)], [(0.18, 0.2), (0.36, 0.2)]],
    ),
    "coat": (
        [[(0.0, -0.66), (0.18, -0.76), (0.48, -0.70), (0.46, -0.10), (0.54, 0.78), (0.0, 0.78)], _LONG_SLEEVE],
        [[(0.0, -0.05), (0.24, -0.66), (0.14, -0.74)], [(0.03, -0.05), (0.03, 0.78)], [(0.0, 0.02), (0.45, 0.02)]],
    ),
    "dress": ([_BODICE, [(0.0, -0.10), (0.24, -0.10), (0.50, 0.74), (0.0, 0.74)]], [[(0.0, -0.08), (0.24, -0.08)]]),
    "skirt": ([[(0.0, -0.45), (0.28, -0.45), (0.46, 0.46), (0.0, 0.46)]], [[(0.0, -0.36), (0.30, -0.36)]]),
    "trousers": (
        [[(0.0, -0.70), (0.32, -0.70), (0.40, 0.74), (0.14, 0.74), (0.04, -0.22), (0.0, -0.22)]],
        [[(0.0, -0.62), (0.33, -0.62)], [(0.01, -0.6), (0.01, -0.25)]],
    ),
    "shorts": (
        [[(0.0, -0.50), (0.34, -0.50), (0.46, 0.24), (0.10, 0.26), (0.03, -0.06), (0.0, -0.06)]],
        [[(0.0, -0.42), (0.35, -0.42)], [(0.01, -0.4), (0.01, -0.1)]],
    ),
    "jumpsuit": (
        [_BODICE, [(0.0, -0.10), (0.25, -0.10), (0.38, 0.76), (0.14, 0.76), (0.04, 0.26), (0.0, 0.26)]],
        [[(0.0, -0.08), (0.24, -0.08)]],
    ),
}  # fmt: skip


def garment(category: str, cut: str) -> Shape:
    """The outline of a category in a cut, both named as in the vocabulary."""
    halves, seams = _HALVES[category]
    top = min(y for part in halves for _, y in part)
    hem = max(y for part in halves for _, y in part)
    change = _CUTS[cut]

    def cut_to_fit(outline: Outline, *, closed: bool) -> list[Points]:
        dense = _dense(np.array(outline, np.float64), closed=closed)
        sides = [dense, dense * np.array([-1.0, 1.0])]
        return [np.stack(change(side[:, 0], side[:, 1], top, hem), axis=1) for side in sides]

    return Shape(
        [side for half in halves for side in cut_to_fit(half, closed=True)],
        [side for seam in seams for side in cut_to_fit(seam, closed=False)],
        top,
        hem,
    )


def _dense(corners: Points, *, closed: bool, per_edge: int = 8) -> Points:
    """More points along the edges, for a cut may bend them."""
    ends = np.roll(corners, -1, axis=0) if closed else corners[1:]
    starts = corners if closed else corners[:-1]
    steps = np.linspace(0.0, 1.0, per_edge, endpoint=False)[:, None]
    points = np.concatenate([start + steps * (end - start) for start, end in zip(starts, ends, strict=True)])
    return points if closed else np.concatenate([points, corners[-1:]])


Axis = Float[np.ndarray, " _"]
Cut = Callable[[Axis, Axis, float, float], tuple[Axis, Axis]]


def _stretched(width: float = 1.0, length: float = 1.0) -> Cut:
    return lambda x, y, top, hem: (x * width, top + (y - top) * length)


def _flared(x: Axis, y: Axis, top: float, hem: float) -> tuple[Axis, Axis]:
    return x * (0.9 + 0.75 * ((y - top) / (hem - top)) ** 2), y


def _asymmetric(x: Axis, y: Axis, top: float, hem: float) -> tuple[Axis, Axis]:
    return x, y + 0.55 * x * ((y - top) / (hem - top)) ** 2


def _scalloped(x: Axis, y: Axis, top: float, hem: float) -> tuple[Axis, Axis]:
    at_hem = (y - top) / (hem - top) > 0.96
    return x, np.where(at_hem, y - 0.16 * np.abs(np.sin(11.0 * x)), y)


_CUTS: dict[str, Cut] = {
    "straight": _stretched(),
    "slim": _stretched(width=0.74),
    "loose": _stretched(width=1.3),
    "cropped": _stretched(length=0.66),
    "flared": _flared,
    "longline": _stretched(length=1.24),
    "asymmetric": _asymmetric,
    "scalloped": _scalloped,
    "tiered": _stretched(),
}
