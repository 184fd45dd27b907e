"""Every window of every segment against the segment's reference.

    found = measure(reference, live, segment="articleType", time="captured", window="week")
    found.alarmed           # windows whose drift is neither chance nor too small to matter

A window alarms when its p, corrected for all windows of all segments together, is at most `level`, and its effect at
least `least_effect` or its cluster at least `least_cluster`: with many items the smallest difference is significant,
and nobody should be woken for it.
"""

from typing import NamedTuple

import numpy as np

from clipadapt import keyed
from clipadapt.deploy.drift.cells import Cell, Window, cells
from clipadapt.errors import UsageError
from clipadapt.metrics.two_samples import Compared, Grouped, clusters, compare, jointly, witness
from clipadapt.search.vectors import Vectors

LEAST = 5
"""Products of a sample; fewer say nothing."""
LEAST_EFFECT = 0.001
"""A tenth of items of a category that the reference lacks has 0.002 to 0.01, another white balance 0.04
(eval/results/drift_drawn.json, drift_photos.json)."""
LEAST_CLUSTER = 0.01
"""A tenth of items of a new category has 0.01 to 0.04, where it has a place of its own (eval/LOG.md)."""
_SHOWN = 12


class Drift(NamedTuple):
    """One window of one segment."""

    segment: str
    window: str
    items: int
    products: int
    reference_products: int
    effect: float
    """Squared discrepancy in units of the reference's own spread; about 0 without drift."""
    cluster: float
    """How far the neighbours of new products are new themselves, beyond chance: 0 without drift, 1 if all are apart."""
    score: float
    """What p ranks, in standard deviations of all permutations: the larger of what the discrepancy and places score."""
    p: float
    """By itself."""
    p_corrected: float
    """Over all windows and segments of the report; the higher the score, the lower."""
    alarm: bool
    strangest: tuple[str, ...]
    """Ids of items of the products that are least like the reference, one each, the strangest first."""


class Report(NamedTuple):
    """All windows."""

    drifts: tuple[Drift, ...]
    """Those that alarm first, then by score; so the most drifted comes first."""
    notes: tuple[str, ...]
    """What could not be compared, and why."""
    level: float
    least_effect: float
    least_cluster: float

    @property
    def alarmed(self) -> tuple[Drift, ...]:
        return tuple(one for one in self.drifts if one.alarm)

    def sentence(self) -> str:
        """The result in words."""
        windows = f"{len(self.drifts)} window(s) of {len({one.segment for one in self.drifts})} segment(s)"
        if not self.alarmed:
            return (
                f"No drift in {windows} at level {self.level:g}, with an effect of {self.least_effect:g} or a cluster "
                f"of {self.least_cluster:.1%} or more."
            )
        worst = self.alarmed[0]
        return (
            f"{len(self.alarmed)} of {windows} drifted; the most: {worst.segment}, {worst.window}, effect "
            f"{worst.effect:.4f}, cluster {worst.cluster:.1%}, p {worst.p_corrected:.3f} corrected for all."
        )


def measure(
    reference: Vectors,
    live: Vectors,
    *,
    segment: str | None = None,
    time: str | None = None,
    window: Window = "week",
    level: float = 0.05,
    least_effect: float = LEAST_EFFECT,
    least_cluster: float = LEAST_CLUSTER,
    permutations: int = 999,
    seed: int = 0,
) -> Report:
    """Compares new vectors with a reference.

    Raises:
        SpaceError, CatalogueError: as `cells`.
        UsageError: too few permutations for the level, or nothing that can be compared.
    """
    if (permutations + 1) * level < 1:
        raise UsageError(
            f"{permutations} permutations cannot show a p of {level:g}; take {int(np.ceil(1 / level)) * 20 - 1} or more"
        )
    samples = cells(reference, live, segment=segment, time=time, window=window, seed=seed)
    notes, compared, drifts = list(samples.notes), [], []
    for name, rows in samples.reference.items():
        own = [cell for cell in samples.live if cell.segment == name]
        enough = [cell for cell in own if _products(live, cell.rows) >= LEAST]
        if _products(reference, rows) < LEAST:
            enough = []
            notes += [f"segment {name!r}: fewer than {LEAST} products in the reference; not compared"] if own else []
        else:
            notes += [
                f"{cell.segment}, {cell.window}: fewer than {LEAST} products; not compared"
                for cell in own
                if cell not in enough
            ]
        if enough:
            grouped = _grouped(reference, rows, live, enough)
            compared.append(compare(grouped, permutations=permutations, rng=keyed.generator(seed, "drift", name)))
            drifts.append((grouped, rows, enough))
    if not drifts:
        raise UsageError("nothing can be compared:" + "".join(f"\n  - {note}" for note in notes or ["no new items"]))
    found = [
        _drift(grouped, number, cell, live, result, corrected, level, (least_effect, least_cluster))
        for (grouped, _, enough), result, corrected in zip(drifts, compared, jointly(compared), strict=True)
        for number, cell in enumerate(enough)
    ]
    found.sort(key=lambda one: (not one.alarm, -one.score))
    return Report(tuple(found), tuple(notes), level, least_effect, least_cluster)


def _grouped(reference: Vectors, rows: np.ndarray, live: Vectors, own: list[Cell]) -> Grouped:
    vectors = [reference.vectors[rows], *(live.vectors[cell.rows] for cell in own)]
    products = [_names(reference, rows), *(_names(live, cell.rows) for cell in own)]
    groups = np.repeat(np.arange(len(vectors)), [len(one) for one in vectors])
    return Grouped.of(np.concatenate(vectors), np.concatenate(products), groups)


def _drift(
    grouped: Grouped, number: int, cell: Cell, live: Vectors, result: Compared, corrected: np.ndarray, level: float,
    least: tuple[float, float],
) -> Drift:  # fmt: skip
    effect, cluster, p = float(result.effect[number]), float(clusters(grouped)[number]), float(corrected[number])
    alarm = p <= level and (effect >= least[0] or cluster >= least[1])
    strange = witness(grouped, number + 1)
    order = np.argsort(-np.nan_to_num(strange, nan=-np.inf), kind="stable")[:_SHOWN]
    ids, products = live.items.table.column("id").to_pylist(), _names(live, cell.rows)
    first: dict[str, str] = {}
    for row, product in zip(cell.rows.tolist(), products.tolist(), strict=True):
        first.setdefault(product, str(ids[row]))
    named = tuple(first[name] for name in grouped.names[order].tolist() if name in first)
    own = int((grouped.group == number + 1).sum())
    return Drift(
        cell.segment, cell.window, len(cell.rows), own, int((grouped.group == 0).sum()), effect, cluster,
        float(result.score[number]), float(result.p[number]), p, alarm, named,
    )  # fmt: skip


def _names(vectors: Vectors, rows: np.ndarray) -> np.ndarray:
    return np.array(vectors.items.table.column("product").take(rows).to_pylist(), np.str_)


def _products(vectors: Vectors, rows: np.ndarray) -> int:
    return len(set(_names(vectors, rows).tolist()))
