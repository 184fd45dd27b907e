"""From evidence to rows: every figure with its interval, every comparison with all it needs.

    cells = [Cell("recognition", "Pattern", None, "all", "balanced_accuracy", None, n, products, evidence), ...]
    rows = to_rows(cells, ("adapted", "base"), "validation", sampler, suite.statistics)

A comparison carries its interval, its p (permutation over products, corrected by Holm's method among the rows of one
task, metric, level and wording) and its minimum detectable difference; none comes out with less. Headlines were chosen
before measuring and stand alone. Nothing here encodes or prints.
Intervals are those of metrics/, this module only knows which figure asks for which.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from clipadapt.metrics.bootstrap import interval_of_draws
from clipadapt.metrics.gallery import gallery_interval, paired_gallery
from clipadapt.metrics.intervals import POWER, balanced_interval, paired_balanced
from clipadapt.metrics.multiplicity import holm
from clipadapt.statistics.evidence import ClassMeans, Rankings, Resampled
from clipadapt.statistics.rows import HEADLINE, Bin, Row, Wording
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics


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
    evidence: ClassMeans | Rankings | Resampled
    wording: Wording | None = None
    """What values were called; null: it does not apply."""


def to_rows(
    cells: Sequence[Cell], systems: tuple[str, str | None], split: str, sampler: Sampler, statistics: Statistics
) -> list[Row]:
    """A row for each system of each cell, the comparison first; p corrected within families.

    Args:
        systems: what is reported, and what it is compared with, if anything.
    """
    rows: list[Row] = []
    for cell in cells:
        for system in (system for system in systems if system is not None):
            bounds = interval(cell, system, sampler, statistics)
            about = (cell.task, cell.attribute, cell.value, cell.bin, cell.metric, cell.k)
            row = Row(*about, system, split, cell.n, cell.products, *bounds, wording=cell.wording)
            if systems[1] is not None and system == systems[0]:
                compared = difference(cell, (system, systems[1]), sampler, statistics)
                row = replace(row, against=systems[1], **compared._asdict())
            rows.append(row)
    return corrected(rows)


class Bounds(NamedTuple):
    """A figure and its interval; null where the items are of one product, which gives no spread."""

    mean: float
    low: float | None
    high: float | None


class Compared(NamedTuple):
    """A comparison, whole."""

    delta: float
    delta_low: float | None
    delta_high: float | None
    p: float
    minimum_detectable: float | None


def interval(cell: Cell, system: str, sampler: Sampler, statistics: Statistics) -> Bounds:
    """One system's figure."""
    evidence, coverage = cell.evidence, statistics.coverage
    if isinstance(evidence, Resampled):
        point = evidence.points[system]
        if evidence.products < 2:
            return Bounds(point, None, None)
        return Bounds(*interval_of_draws(evidence.draws[system], point, evidence.products, coverage=coverage))
    if cell.products < 2:
        return Bounds(evidence.mean(system), None, None)
    if isinstance(evidence, Rankings):
        return Bounds(*gallery_interval(evidence.queries[system], sampler.of_row, coverage=coverage))
    products = sampler.of_row[evidence.rows]
    scores, classes = evidence.scores[system], evidence.classes
    return Bounds(*balanced_interval(scores, classes, products, evidence.weights, coverage=coverage))


def difference(cell: Cell, systems: tuple[str, str], sampler: Sampler, statistics: Statistics) -> Compared:
    """The first system minus the second, on the same items."""
    evidence, (system, other) = cell.evidence, systems
    if isinstance(evidence, Resampled):
        return _resampled(evidence, systems, statistics)
    if cell.products < 2:
        return Compared(evidence.mean(system) - evidence.mean(other), None, None, 1.0, None)
    if isinstance(evidence, Rankings):
        return Compared(
            *paired_gallery(
                evidence.queries[system],
                evidence.queries[other],
                sampler.of_row,
                coverage=statistics.coverage,
                draws=statistics.permutations,
                seed=statistics.seed,
            )
        )
    return Compared(
        *paired_balanced(
            evidence.scores[system],
            evidence.scores[other],
            evidence.classes,
            sampler.of_row[evidence.rows],
            evidence.weights,
            coverage=statistics.coverage,
            draws=statistics.permutations,
            seed=statistics.seed,
        )
    )


def _resampled(evidence: Resampled, systems: tuple[str, str], statistics: Statistics) -> Compared:
    delta = evidence.points[systems[0]] - evidence.points[systems[1]]
    assert evidence.null is not None, "two systems are swapped"
    p = (1 + int((np.abs(evidence.null) >= abs(delta) - 1e-12).sum())) / (1 + len(evidence.null))
    if evidence.products < 2:
        return Compared(delta, None, None, p, None)
    draws = evidence.draws[systems[0]] - evidence.draws[systems[1]]
    _, low, high = interval_of_draws(draws, delta, evidence.products, coverage=statistics.coverage, bounds=(-1.0, 1.0))
    reach = norm.ppf((1 + statistics.coverage) / 2) + norm.ppf(POWER)
    unseen = 3.0 / evidence.products  # what no product showed may still be true of this share: the rule of three
    return Compared(delta, low, high, p, float(min(1.0, max(reach * draws.std(), unseen))))


def corrected(rows: Sequence[Row]) -> list[Row]:
    """Every p multiplied by Holm's method within its family; headlines as they are."""
    families: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(rows):
        if row.p is not None and row.task != HEADLINE:
            level = "value" if row.value is not None else row.bin
            families.setdefault((row.task, row.metric, row.k, level, row.wording), []).append(number)
    changed = list(rows)
    for members in families.values():
        raised = holm([rows[number].p or 0.0 for number in members])
        for number, p in zip(members, raised, strict=True):
            changed[number] = replace(rows[number], p=p)
    return changed
