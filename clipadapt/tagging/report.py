"""What tagging is worth where labels are known: precision at coverage, and what no person has to look at.

    results = report({"adapted": tagged, "base": other}, thresholds, split="validation")
    select(results.rows, task="headline", metric="automatic_cells")[0].delta     # the moderation queue saved

Rows, of task "tagging" per attribute and of task "headline" over all attributes:

    automatic_cells           share of labelled cells (an item's attribute) that are sure or not applicable
    automatic_items           share of items whose labelled cells all are; headline alone
    precision                 share of sure predictions that are right; no row where none is sure
    balanced_accuracy, rare_balanced_accuracy    of recognition, headline alone, as `clipadapt eval` measures them
    precision_at_coverage     of the k% most probable predictions, wherever the threshold lies: the curve

What labels do not name is neither right nor wrong and not counted; in a multi attribute, an item with any label is
taken to be labelled fully. Two systems are compared on the same items, each with thresholds of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from clipadapt import runs
from clipadapt.data.bins import rare
from clipadapt.data.catalogue import Catalogue
from clipadapt.recognition.accuracy import MIN_ITEMS, accuracies
from clipadapt.statistics.cells import Cell, to_rows
from clipadapt.statistics.evidence import ClassMeans
from clipadapt.statistics.results import MeasuredRows
from clipadapt.statistics.rows import HEADLINE, Bin, Row
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics
from clipadapt.tagging.predictions import Truth, truth_of
from clipadapt.tagging.tag import Tagged
from clipadapt.tagging.thresholds import Thresholds

TASK = "tagging"
AUTOMATIC, AUTOMATIC_ITEMS, PRECISION, CURVE = (
    "automatic_cells", "automatic_items", "precision", "precision_at_coverage"
)  # fmt: skip
COVERAGES = (5, *range(10, 101, 10))
"""Percent of predictions at which the curve is read."""


class _Known(NamedTuple):
    """One attribute of one system, where labels are known."""

    rows: np.ndarray
    """Labelled items, ascending."""
    done: np.ndarray
    """Of those: whether no person has to look."""
    predicted: np.ndarray
    """Rows of all predictions on labelled items, most probable first; predictions that are never believed last."""
    right: np.ndarray
    """Of those predictions."""
    sure: np.ndarray


def labelled(catalogue: Catalogue, thresholds: Thresholds) -> tuple[str, ...]:
    """Attributes of the thresholds with any known value in the catalogue."""
    return tuple(
        name for name in thresholds.attributes if name in catalogue.columns and any(catalogue.value_sets(name))
    )


def report(
    tagged: Mapping[str, Tagged],
    thresholds: Mapping[str, Thresholds],
    *,
    split: str | None = None,
    counts: Mapping[str, Mapping[str, int]] | None = None,
    headline: Sequence[str] | None = None,
    statistics: Statistics | None = None,
) -> MeasuredRows:
    """Measures one system, or the first against the second.

    Args:
        tagged: system -> tags of the same catalogue.
        thresholds: system -> what they were made with.
        split: what the split is called, where it was carved.
        counts: attribute -> value -> labelled training items, by which values are rare; null: nothing is known to be.
        headline: attributes whose recognition is quoted; null: all exclusive ones.

    Raises:
        ValueError: no attribute has a known value.
    """
    systems = list(tagged)
    catalogue = tagged[systems[0]].catalogue
    statistics, split = statistics or Statistics(), split or catalogue.split
    names = labelled(catalogue, thresholds[systems[0]])
    if not names:
        raise ValueError(f"no item of {split!r} has a known value of any attribute, so nothing can be measured")
    sampler = Sampler(catalogue.products, draws=statistics.draws, swaps=statistics.permutations, seed=statistics.seed)
    known = {system: {name: _known(tagged[system], thresholds[system], name) for name in names} for system in systems}
    pair = (systems[0], systems[1] if len(systems) > 1 else None)
    quoted = _quoted(tagged, headline)
    cells = [*_shares(known, names, sampler), *_recognition(tagged, quoted, counts, sampler)]
    rows = to_rows(cells, pair, split, sampler, statistics)
    for system in systems:
        rows += to_rows(_precisions(known[system], system, sampler), (system, None), split, sampler, statistics)
    rows.sort(key=lambda row: row.task != HEADLINE)
    record = _record(tagged, thresholds, split, statistics)
    record["headline"] = list(quoted)
    record["rare"] = {name: sorted(rare(counts.get(name, {}))) for name in quoted} if counts is not None else {}
    return MeasuredRows(record, tuple(rows))


def _known(tagged: Tagged, thresholds: Thresholds, name: str) -> _Known:
    column, candidates = tagged.columns[name], thresholds.attributes[name].candidates
    truth = truth_of(candidates, tagged.catalogue.value_sets(name))
    whole = np.array([state is not None for state in column.states])
    truth = Truth(truth.labelled & whole, truth.has)
    rows = np.flatnonzero(truth.labelled)
    done = np.array([column.states[row] in ("sure", "not applicable") for row in rows], bool)
    predictions = column.predictions
    on = np.flatnonzero(truth.labelled[predictions.rows])
    standing = np.where(candidates.calibrated[predictions.values[on]], predictions.probability[on], -1.0)
    on = on[np.argsort(-standing, kind="stable")]
    return _Known(rows, done, predictions.rows[on], truth.right(predictions)[on], column.sure[on])


def _shares(known: Mapping[str, Mapping[str, _Known]], names: tuple[str, ...], sampler: Sampler) -> list[Cell]:
    """What needs no person, of all systems on the same items."""
    first = next(iter(known.values()))
    every = np.concatenate([first[name].rows for name in names])
    pooled = {system: np.concatenate([by_name[name].done for name in names]) for system, by_name in known.items()}
    items, of_item = np.unique(every, return_inverse=True)
    open_cells = {system: np.bincount(of_item, ~done, minlength=len(items)) for system, done in pooled.items()}
    cells = [
        _cell(HEADLINE, None, AUTOMATIC, None, pooled, every, sampler),
        _cell(HEADLINE, None, AUTOMATIC_ITEMS, None, {s: left == 0 for s, left in open_cells.items()}, items, sampler),
    ]
    for name in names:
        done = {system: by_name[name].done for system, by_name in known.items()}
        cells.append(_cell(TASK, name, AUTOMATIC, None, done, first[name].rows, sampler))
    return cells


def _quoted(tagged: Mapping[str, Tagged], headline: Sequence[str] | None) -> tuple[str, ...]:
    """Attributes whose recognition is quoted."""
    first = next(iter(tagged.values()))
    exclusive = {one.name for one in first.catalogue.attributes if one.kind == "exclusive"}
    return tuple(name for name in first.recognised if (name in exclusive if headline is None else name in headline))


def _recognition(
    tagged: Mapping[str, Tagged],
    quoted: Sequence[str],
    counts: Mapping[str, Mapping[str, int]] | None,
    sampler: Sampler,
) -> Iterator[Cell]:
    """Balanced accuracy and that of rare values, as an evaluation of this split has them."""
    joined = []
    for name in quoted:
        each = {system: one.recognised[name] for system, one in tagged.items()}
        first = next(iter(each.values()))
        hits = {system: one.hit[""] for system, one in each.items()}
        right = {system: one.right[""] for system, one in each.items()}
        joined.append(first._replace(hit=hits, right=right, chosen={}))
    means = accuracies(joined, counts, MIN_ITEMS)
    bins: dict[str, Bin] = {"balanced_accuracy": "all", "rare_balanced_accuracy": "rare"}
    for metric, bin_ in bins.items():
        if metric in means:
            evidence = means[metric]
            used = np.unique(evidence.rows[evidence.weights[evidence.classes] > 0])
            size = (len(used), sampler.products(used))
            yield Cell(HEADLINE, None, None, bin_, metric, None, *size, evidence)


def _precisions(known: Mapping[str, _Known], system: str, sampler: Sampler) -> list[Cell]:
    """How often one system is right, where it is sure and along the curve."""
    rows = np.concatenate([one.predicted[one.sure] for one in known.values()])
    right = np.concatenate([one.right[one.sure] for one in known.values()])
    cells = [_cell(HEADLINE, None, PRECISION, None, {system: right}, rows, sampler)] if len(rows) else []
    for name, one in known.items():
        if one.sure.any():
            when_sure = {system: one.right[one.sure]}
            cells.append(_cell(TASK, name, PRECISION, None, when_sure, one.predicted[one.sure], sampler))
        for percent in COVERAGES:
            most = -(-percent * len(one.predicted) // 100)
            if most:
                cells.append(
                    _cell(TASK, name, CURVE, percent, {system: one.right[:most]}, one.predicted[:most], sampler)
                )
    return cells


def _cell(
    task: str,
    attribute: str | None,
    metric: str,
    k: int | None,
    scores: Mapping[str, np.ndarray],
    rows: np.ndarray,
    sampler: Sampler,
) -> Cell:
    plain = {system: values.astype(np.float64) for system, values in scores.items()}
    evidence = ClassMeans(plain, np.zeros(len(rows), np.int64), rows, np.ones(1))
    return Cell(task, attribute, None, "all", metric, k, len(rows), sampler.products(rows), evidence)


def _record(
    tagged: Mapping[str, Tagged], thresholds: Mapping[str, Thresholds], split: str, statistics: Statistics
) -> dict[str, Any]:
    """The config of the results: who, on what, with which thresholds, and how all items came out."""
    first = next(iter(tagged.values()))
    return {
        "kind": "tagging",
        "systems": {
            system: limits.model | {"precision": limits.precision, "confidence": limits.confidence,
                                    "fitted_on": limits.fitted_on._asdict(),
                                    "attributes": _attributes(tagged[system], limits)}
            for system, limits in thresholds.items()
        },
        "catalogue": {
            "source": first.catalogue.source,
            "split": split,
            "items": len(first.catalogue),
            "products": len(set(first.catalogue.products.tolist())),
            "fingerprint": first.catalogue.fingerprint,
        },
        "prompts": next(iter(thresholds.values())).prompts,
        "broken": list(first.faults.values()),
        "statistics": statistics.model_dump(mode="json"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": runs.environment(statistics.seed)["packages"],
    }  # fmt: skip


def _attributes(tagged: Tagged, thresholds: Thresholds) -> dict[str, Any]:
    """Of every attribute: where its threshold lies, what is never sure, and the states of all items."""
    return {
        name: {
            "threshold": one.shown.threshold,
            "reason": one.shown.reason,
            "uncalibrated": list(one.candidates.uncalibrated),
            "items": tagged.columns[name].counts(),
        }
        for name, one in thresholds.attributes.items()
    }


def share_done(results: MeasuredRows | None) -> dict[str, Any] | None:
    """The headline's share of labelled cells that need no person, and what that saves against the base.

    None where nothing was measured.
    """
    row = find_row(results.rows, task=HEADLINE, metric=AUTOMATIC) if results is not None else None
    if row is None:
        return None
    return {
        "cells": row.n, "products": row.products, "mean": row.mean, "low": row.low, "high": row.high,
        "against": row.against, "saved": row.delta, "saved_low": row.delta_low, "saved_high": row.delta_high,
    }  # fmt: skip


def find_row(rows: tuple[Row, ...], **wanted: Any) -> Row | None:
    """The one row whose fields are those, None when there is none."""
    return next((row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())), None)
