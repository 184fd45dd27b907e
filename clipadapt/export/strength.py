"""The strength dial: how much of what was trained goes into the merged weights, per tower.

    parse_strength("image=0.8,text=1.0")      factors as they are typed
    curve = find_strength("run:runs/fashion") the best factors on tune (see strength_search)
    curve.chosen                              {"image": 0.75, "text": 0.9}
    curve.save(folder)                        strength.json, and strength.html that draws it

A curve is what a search found at every point it tried, so that the choice can be looked at. Figures are of tune, where
the choice was made: they flatter the point that was chosen. Nothing here measures or merges.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.errors import UsageError
from clipadapt.evaluation.report.strength import strength_page
from clipadapt.towers.identity import TOWERS, Tower

STRENGTH, PAGE = "strength.json", "strength.html"
AUTO = "auto"
_SCHEMA = 2
_TOWERS: dict[str, Tower] = {tower: tower for tower in TOWERS}


class Figure(NamedTuple):
    """A figure of tune, and its paired difference to the base."""

    mean: float
    delta: float
    low: float | None
    """Bounds of delta; null where the items are of one product, which gives no spread."""
    high: float | None


class Point(NamedTuple):
    """One pair of strengths, measured."""

    image: float
    text: float
    figures: Mapping[str, Figure]
    """Metric -> over the headline attributes."""
    retention: Figure
    """Balanced accuracy over the retained attributes."""
    within_margin: bool
    """Whether retention falls by no more than the margin."""

    @property
    def strength(self) -> dict[Tower, float]:
        return {"image": self.image, "text": self.text}


@dataclass(frozen=True)
class Curve:
    """Every point a search tried, and the one it chose."""

    best: Point
    points: tuple[Point, ...]
    metric: str
    """What was to be largest; ties went to balanced_accuracy, then to the smaller strength."""
    margin: float
    """The loss of retention that is still allowed."""
    tune: Mapping[str, Any]
    """source, split, items, products."""
    headline: tuple[str, ...]
    retained: tuple[str, ...]

    @property
    def chosen(self) -> dict[Tower, float]:
        """Tower -> strength."""
        return self.best.strength

    def to_json(self) -> dict[str, Any]:
        """The content of strength.json."""
        document = asdict(self)
        document["points"] = [_point(point) for point in self.points]
        document["best"] = _point(self.best)
        return {"schema_version": _SCHEMA, "chosen": self.chosen, **places.public(document)}

    def save(self, folder: str | Path) -> None:
        """Writes strength.json and strength.html into a folder.

        Raises:
            StoreError: the disk refuses.
        """
        document = self.to_json()
        atomic_write(Path(folder, STRENGTH), json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        atomic_write(Path(folder, PAGE), strength_page(document))


Strength = Mapping[Tower, float] | Curve
"""Factors, or the curve they were found by."""


def factors(strength: Strength | None) -> dict[Tower, float]:
    """A factor for each tower; 1 where nothing else was said."""
    given = strength.chosen if isinstance(strength, Curve) else strength
    return {"image": 1.0, "text": 1.0, **(given or {})}


def parse_strength(text: str | None) -> dict[Tower, float] | None:
    """`image=0.8,text=1.0` -> a factor per tower; None stays None, which means 1 for both.

    Raises:
        UsageError: another tower, a number that is none, or one below 0.
    """
    return None if text is None else dict(_factor(part.strip()) for part in text.split(","))


def _factor(part: str) -> tuple[Tower, float]:
    name, _, number = part.partition("=")
    tower = _TOWERS.get(name)
    try:
        factor = float(number)
    except ValueError:
        factor = -1.0
    if tower is None or not 0.0 <= factor <= 2.0:
        raise UsageError(
            f"strength {part!r}: write image=NUMBER or text=NUMBER, with a number from 0 to 2; or {AUTO} for a run"
        )
    return tower, factor


def _point(point: Point) -> dict[str, Any]:
    figures = {name: figure._asdict() for name, figure in point.figures.items()}
    return {**point._asdict(), "figures": figures, "retention": point.retention._asdict()}
