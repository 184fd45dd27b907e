"""A person's marks -> label error, per value, per attribute and over all, with intervals clustered by product.

    estimates(labels, chosen, marks)

An attribute's error is the mean over its values of their errors, each weighted by its labels: the sample holds more of
rare values than the catalogue does, and this puts it right. That is a weighted mean of class means, so its interval is
the one of balanced accuracy (metrics/intervals.py): items of one product are right or wrong together, and values
without a single wrong label still have a spread. How alike the labels of one product are is taken from all of them, not
from those of one value: a wrong colour says little of the same product's fabric. What was looked at is known, so only
the rest of the catalogue is uncertain: bounds move in by the finite population correction.
Labels that were marked unclear or not at all are left out, and counted; a value none of whose labels was marked is left
out of its attribute, and the share that is covered is stated. The trade: the person is taken to be right.
Measured coverage: eval/benchmarks/label_audit.py.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from clipadapt.audit.labels import Labels
from clipadapt.audit.sample import Sample
from clipadapt.metrics.intervals import Interval, product_correlation
from clipadapt.metrics.intervals import Sample as ClassMeans

Mark = Literal["right", "wrong", "unclear"]
ALL = "all attributes"


class Estimate(NamedTuple):
    """Label error of one value, one attribute, or all of them."""

    attribute: str
    """ALL for the whole."""
    value: str | None
    """None: of all values."""
    labels: int
    """In the catalogue."""
    looked_at: int
    """Marked right or wrong."""
    wrong: int
    unclear: int
    unmarked: int
    covered: float
    """Share of the labels whose value has a label that was marked right or wrong."""
    error: Interval | None
    """None: nothing was marked, or of one product only, which says nothing of others."""


def estimates(labels: Labels, chosen: Sample, marks: Mapping[int, Mark], *, coverage: float = 0.95) -> list[Estimate]:
    """Of all attributes, then attribute by attribute, each followed by its values.

    Args:
        marks: place in the sample -> mark.
        coverage: of the intervals.
    """
    every = np.arange(len(labels.strata))
    found = [_estimate(labels, chosen, marks, every, ALL, None, coverage)]
    for attribute in dict.fromkeys(one.attribute for one in labels.strata):
        own = np.array([at for at in every if labels.strata[at].attribute == attribute])
        found.append(_estimate(labels, chosen, marks, own, attribute, None, coverage))
        if len(own) > 1:
            found += _by_value(labels, chosen, marks, own, attribute, coverage)
    return found


def headline(found: Sequence[Estimate]) -> Estimate:
    """The one of all attributes."""
    return found[0]


def _by_value(
    labels: Labels, chosen: Sample, marks: Mapping[int, Mark], own: np.ndarray, attribute: str, coverage: float
) -> list[Estimate]:
    return [_estimate(labels, chosen, marks, own[[at]], attribute, labels.strata[own[at]].value, coverage)
            for at in range(len(own))]  # fmt: skip


def _estimate(
    labels: Labels,
    chosen: Sample,
    marks: Mapping[int, Mark],
    strata: np.ndarray,
    attribute: str,
    value: str | None,
    coverage: float,
) -> Estimate:
    places = np.flatnonzero(np.isin(labels.stratum[chosen.labels], strata))
    given = [marks.get(int(place)) for place in places]
    judged = np.array([mark in ("right", "wrong") for mark in given], bool)
    wrong = np.array([mark == "wrong" for mark in given], bool)[judged]
    at = chosen.labels[places[judged]]
    total = int(labels.sizes()[strata].sum())
    there, classes = np.unique(labels.stratum[at], return_inverse=True)
    weights = labels.sizes()[there].astype(np.float64)
    products = labels.products[labels.row[at]]
    error = None
    if len(np.unique(products)) > 1:
        rho = product_correlation(wrong, products)
        error = ClassMeans(classes, products, weights / weights.sum()).interval(wrong, coverage=coverage, rho=rho)
        error = _of_the_rest(error, weights, np.bincount(classes).astype(np.float64))
    return Estimate(
        attribute,
        value,
        total,
        len(at),
        int(wrong.sum()),
        sum(mark == "unclear" for mark in given),
        sum(mark is None for mark in given),
        float(weights.sum() / total),
        error,
    )


def _of_the_rest(error: Interval, labels: np.ndarray, looked_at: np.ndarray) -> Interval:
    """The interval with the finite population correction of a stratified sample, as if values were equally spread."""
    parts = labels**2 / looked_at
    left = np.sqrt(float((parts * (1 - looked_at / labels)).sum() / parts.sum()))
    return Interval(
        error.mean, error.mean - left * (error.mean - error.low), error.mean + left * (error.high - error.mean)
    )
