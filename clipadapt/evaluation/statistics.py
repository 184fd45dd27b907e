"""From evidence to rows: every figure with its interval, every comparison with all it needs.

    cells = [Cell("recognition", "Pattern", None, "all", "balanced_accuracy", None, n, products, evidence), ...]
    rows = to_rows(cells, ("adapted", "base"), "validation", sampler, suite.statistics)

A comparison carries its interval, its p (permutation over products, corrected by Holm's method among the rows of one
task, metric and level) and its minimum detectable difference; none comes out with less. Headlines were chosen before
measuring and stand alone. Nothing here encodes or prints.
Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979) 65-70.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from clipadapt.evaluation.evidence import Drawn, totals_evidence
from clipadapt.evaluation.rows import HEADLINE, Bin, Row
from clipadapt.evaluation.sampling import Sampler
from clipadapt.evaluation.suite import Statistics


class ClassMeans(NamedTuple):
    """Scores of items, of which a weighted mean of class means is taken: recall, balanced accuracy, item queries."""

    scores: dict[str, Float[np.ndarray, " cases"]]
    """System -> score of each case, in [0, 1]."""
    classes: Int[np.ndarray, " cases"]
    rows: Int[np.ndarray, " cases"]
    """Rows of the catalogue."""
    weights: Float[np.ndarray, " classes"]
    """Of the classes' means; they sum to 1, and 0 leaves a class out."""


class Cell(NamedTuple):
    """One figure of all systems, before it becomes rows."""

    task: str
    attribute: str | None
    value: str | None
    bin: Bin
    metric: str
    k: int | None
    n: int
    products: int
    evidence: ClassMeans | Drawn


class Bounds(NamedTuple):
    """A figure and its interval; null where the items give no spread."""

    mean: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A comparison, whole."""

    delta: float
    low: float | None
    high: float | None
    p: float
    minimum_detectable: float | None


def to_rows(
    cells: Sequence[Cell], systems: tuple[str, str | None], split: str, sampler: Sampler, statistics: Statistics
) -> list[Row]:
    """A row for each system of each cell, the comparison first; p corrected within families.

    Args:
        systems: what is reported, and what it is compared with, if anything.
    """
    rows: list[Row] = []
    for cell in cells:
        evidence = drawn(cell.evidence, sampler)
        for system in (system for system in systems if system is not None):
            mean, low, high = bounds(evidence, system, cell.products, statistics)
            about = (cell.task, cell.attribute, cell.value, cell.bin, cell.metric, cell.k)
            row = Row(*about, system, split, cell.n, cell.products, mean, low, high)
            if systems[1] is not None and system == systems[0]:
                found = difference(evidence, (system, systems[1]), cell.products, statistics)
                row = replace(
                    row,
                    against=systems[1],
                    delta=found.delta,
                    delta_low=found.low,
                    delta_high=found.high,
                    p=found.p,
                    minimum_detectable=found.minimum_detectable,
                )
            rows.append(row)
    return corrected(rows)


def drawn(evidence: ClassMeans | Drawn, sampler: Sampler) -> Drawn:
    """Class means under every draw and swap."""
    if isinstance(evidence, Drawn):
        return evidence
    classes = len(evidence.weights)
    which = np.eye(classes)[evidence.classes]
    totals = {system: np.hstack([which * own[:, None], which]) for system, own in evidence.scores.items()}

    def figure(sums: Float[np.ndarray, "columns sums"]) -> Float[np.ndarray, " columns"]:
        return (sums[:, :classes] / np.maximum(sums[:, classes:], 1e-12)) @ evidence.weights

    return totals_evidence(totals, evidence.rows, sampler, figure)


def bounds(evidence: Drawn, system: str, products: int, statistics: Statistics) -> Bounds:
    """One system's figure with its percentile interval."""
    mean = evidence.points[system]
    return Bounds(mean, *_percentiles(evidence.draws[system], mean, products, statistics))


def difference(evidence: Drawn, systems: tuple[str, str], products: int, statistics: Statistics) -> Difference:
    """The first system minus the second, on the same draws."""
    delta = evidence.points[systems[0]] - evidence.points[systems[1]]
    draws = evidence.draws[systems[0]] - evidence.draws[systems[1]]
    low, high = _percentiles(draws, delta, products, statistics)
    assert evidence.null is not None, "two systems are swapped"
    p = (1 + int((np.abs(evidence.null) >= abs(delta) - 1e-12).sum())) / (1 + len(evidence.null))
    if low is None:
        return Difference(delta, None, None, p, None)
    reach = norm.ppf((1 + statistics.coverage) / 2) + norm.ppf(statistics.power)
    unseen = 3.0 / products  # what no product showed may still be true of this share: the rule of three
    return Difference(delta, low, high, p, float(min(1.0, max(reach * draws.std(), unseen))))


def corrected(rows: Sequence[Row]) -> list[Row]:
    """Every p multiplied by Holm's method within its family; headlines as they are."""
    families: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(rows):
        if row.p is not None and row.task != HEADLINE:
            level = "value" if row.value is not None else row.bin
            families.setdefault((row.task, row.metric, row.k, level), []).append(number)
    changed = list(rows)
    for members in families.values():
        raised = holm([rows[number].p or 0.0 for number in members])
        for number, p in zip(members, raised, strict=True):
            changed[number] = replace(rows[number], p=p)
    return changed


def holm(ps: Sequence[float]) -> list[float]:
    """Each p so that all below a level hold together at that level."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised, largest = [0.0] * len(ps), 0.0
    for step, number in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - step) * ps[number]))
        raised[number] = largest
    return raised


def _percentiles(
    draws: Float[np.ndarray, " draws"], point: float, products: int, statistics: Statistics
) -> tuple[float | None, float | None]:
    if products < 2:
        return None, None
    tail = (1 - statistics.coverage) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(min(low, point)), float(max(high, point))
