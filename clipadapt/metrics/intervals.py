"""Intervals of means, balanced means and paired differences, clustered by product.

    balanced_interval(correct, classes, products)                    # balanced accuracy
    balanced_interval(correct, classes, products, weights)           # over rare values, one value, several attributes
    paired_balanced(correct, against, classes, products, weights)    # one system minus another on the same items
    Sample(classes, products, weights).difference(differences)       # many scores of the same items, grouped once

A plain mean (top-1, P@k over queries) is that of one class: classes are all 0.

In a Bayesian bootstrap over n independent yes/no observations the mean is Beta(successes, failures): draws are not
needed. That posterior, with Jeffreys's half observations, is used here with the number of independent observations
that the clustered items are worth (effective.py). It keeps skew, never leaves the bounds and never shrinks to a point.
Means that no such number describes (macro F1) go to bootstrap.py, average precision over a gallery to gallery.py.
Measured coverage of 95% intervals: eval/benchmarks/interval_coverage.py.
Source: Rubin, "The Bayesian bootstrap" (1981); Korn & Graubard, "Confidence intervals for proportions with small
expected number of positive counts estimated from survey data" (1998); Brown, Cai & DasGupta, "Interval estimation for
a binomial proportion" (2001), for Jeffreys's interval.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import betaincinv

from clipadapt.metrics.effective import Layout, Spread, correlation, quantile, spread
from clipadapt.metrics.studentised import balanced_swap_p

POWER = 0.8
"""Chance of seeing a difference as large as the minimum detectable one."""

Scores = Float[np.ndarray, " items"] | Bool[np.ndarray, " items"]
Products = Shaped[np.ndarray, " items"]


class Interval(NamedTuple):
    """A mean and its bounds, as fractions in [0, 1], of differences in [-1, 1]; only the report prints percent."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """One system minus another, with everything a comparison is printed with."""

    delta: float
    delta_low: float
    delta_high: float
    p: float
    """Two-sided, by swapping the systems product by product; not yet corrected for other comparisons."""
    minimum_detectable: float
    """A true difference of this size would be found to differ from zero four times out of five."""


class Sample:
    """The items behind any number of figures: grouped by class and product once.

    Arguments and errors are those of `balanced_interval`.
    """

    def __init__(
        self,
        classes: Int[np.ndarray, " items"],
        products: Products,
        weights: Float[np.ndarray, " classes"] | None = None,
    ) -> None:
        if len(classes) != len(products) or not len(classes):
            raise ValueError(f"{len(classes)} classes and {len(products)} products; one of each per item, please")
        names, place = np.unique(products, return_inverse=True)
        if len(names) < 2:
            raise ValueError(
                f"all {len(classes)} items are of one product, which says nothing about how products differ"
            )
        self.weights = _weights(classes, weights)
        self.products = len(names)
        """Distinct ones."""
        self._layout = Layout.of(classes, place, len(self.weights))

    def interval(
        self, scores: Scores, *, coverage: float = 0.95, other_variance: float = 0.0, rho: float | None = None
    ) -> Interval:
        """Of the weighted mean of class means of scores in [0, 1].

        Args:
            rho: correlation between items of one product; None: as items of one product and class have it, which is
                too much where most items of a product are of different classes (see `product_correlation`).
        """
        moments = self._spread(_checked(scores, 0.0), True, other_variance, rho)
        return Interval(moments.mean, *_bounds(moments, coverage))

    def difference(self, differences: Scores, *, coverage: float = 0.95) -> Interval:
        """Of the weighted mean of class means of score differences in [-1, 1]."""
        moments = self._spread((_checked(differences, -1.0) + 1) / 2, False, 0.0)
        return _widened(moments.mean, _bounds(moments, coverage))

    def by_class(self, scores: Scores, *, coverage: float = 0.95) -> list[Interval]:
        """Of each class's mean score in [0, 1]; a class without items has none to give, and is an error.

        How alike the items of a product are is taken from all classes.
        """
        classes = self._each_class(_checked(scores, 0.0), True)
        return [Interval(one.mean, *_bounds(one, coverage)) for one in classes]

    def differences_by_class(self, differences: Scores, *, coverage: float = 0.95) -> list[Interval]:
        """Of each class's mean score difference in [-1, 1]; otherwise as `by_class`."""
        classes = self._each_class((_checked(differences, -1.0) + 1) / 2, False)
        return [_widened(one.mean, _bounds(one, coverage)) for one in classes]

    def _spread(self, scores: np.ndarray, yes_or_no: bool, other_variance: float, rho: float | None = None) -> Spread:
        cells = self._layout.cells(self._fitting(scores))
        return spread(cells, self.weights, yes_or_no=yes_or_no, other_variance=other_variance, rho=rho)

    def _each_class(self, scores: np.ndarray, yes_or_no: bool) -> Iterator[Spread]:
        cells = self._layout.cells(self._fitting(scores))
        rho = correlation(cells)
        return (spread(one, np.ones(1), yes_or_no=yes_or_no, rho=rho) for one in cells.each_class())

    def _fitting(self, scores: np.ndarray) -> np.ndarray:
        if len(scores) != len(self._layout.place):
            raise ValueError(f"{len(scores)} scores for {len(self._layout.place)} items")
        return scores


def product_correlation(scores: Scores, products: Products) -> float:
    """Between items of one product, whatever their class; differences between classes count as spread of products."""
    _, place = np.unique(products, return_inverse=True)
    layout = Layout.of(np.zeros(len(products), np.int64), place, 1)
    return correlation(layout.cells(_checked(scores, 0.0)))


def balanced_interval(
    correct: Scores,
    classes: Int[np.ndarray, " items"],
    products: Products,
    weights: Float[np.ndarray, " classes"] | None = None,
    *,
    coverage: float = 0.95,
    other_variance: float = 0.0,
) -> Interval:
    """Of a weighted mean of class means, such as balanced accuracy.

    Hand in all items of the attribute even when only rare classes are averaged: they tell how alike the items of a
    product are, which a few rare items cannot.

    Args:
        correct: in [0, 1], of each item.
        classes: codes 0 to C - 1. An item that counts in two classes (two attributes) is handed in twice.
        products: one label per item.
        weights: of each class's mean, adding up to 1; 0 leaves a class out of the mean. None: classes that occur
            count alike.
        coverage: chance that the interval holds the value over all products like these.
        other_variance: of the mean, from sources other than the choice of items and independent of it.

    Raises:
        ValueError: scores beyond [0, 1] or not numbers, no items, or fewer than two products, for one says nothing
            about how products differ; weights that are negative, do not add up to 1, or weigh a class without items.
    """
    return Sample(classes, products, weights).interval(correct, coverage=coverage, other_variance=other_variance)


def paired_balanced(
    correct: Scores,
    against: Scores,
    classes: Int[np.ndarray, " items"],
    products: Products,
    weights: Float[np.ndarray, " classes"] | None = None,
    *,
    coverage: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
    other_variance: float = 0.0,
) -> Difference:
    """A weighted mean of class means of `correct` minus that of `against`; arguments as in balanced_interval and
    balanced_swap_p, which gives p.
    """
    differences = _checked(correct, 0.0) - _checked(against, 0.0)
    shares = _weights(classes, weights)
    p = balanced_swap_p(differences, classes, products, shares, draws=draws, seed=seed)
    return compared(differences, classes, products, shares, p, coverage=coverage, other_variance=other_variance)


def compared(
    differences: Float[np.ndarray, " items"],
    classes: Int[np.ndarray, " items"],
    products: Products,
    weights: Float[np.ndarray, " classes"] | None,
    p: float,
    *,
    coverage: float = 0.95,
    other_variance: float = 0.0,
) -> Difference:
    """What a comparison is printed with, for items' score differences in [-1, 1] and a p found elsewhere.

    The interval is that of the differences, scaled to [0, 1]; the minimum detectable difference takes its standard
    error at 80% power and the interval's level.
    """
    moments = Sample(classes, products, weights)._spread((differences + 1) / 2, False, other_variance / 4)
    delta, low, high = _widened(moments.mean, _bounds(moments, coverage))
    reach = quantile((1 - coverage) / 2, np.inf) + quantile(1 - POWER, np.inf)
    detectable = min(2 * reach * np.sqrt(moments.variance), 1.0)
    return Difference(delta, low, high, p, float(detectable))


def _checked(scores: Scores, low: float) -> Float[np.ndarray, " items"]:
    wide = scores.astype(np.float64)
    if not ((wide >= low) & (wide <= 1)).all():
        raise ValueError(f"scores must lie in [{low:g}, 1] and be numbers; found {wide.min()} to {wide.max()}")
    return wide


def _weights(classes: np.ndarray, weights: np.ndarray | None) -> Float[np.ndarray, " classes"]:
    counts = np.bincount(classes, minlength=0 if weights is None else len(weights))
    if weights is None:
        return (counts > 0) / (counts > 0).sum()
    if (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"class weights must be at least 0 and add up to 1; they add up to {weights.sum()}")
    if len(counts) > len(weights) or (weights[counts == 0] > 0).any():
        raise ValueError("a class that is weighed has no items, or a class of the items has no weight")
    return weights.astype(np.float64)


def _widened(mean: float, bounds: tuple[float, float]) -> Interval:
    """From [0, 1], in which differences are computed, to [-1, 1]."""
    return Interval(2 * mean - 1, *(2 * bound - 1 for bound in bounds))


def _bounds(moments: Spread, coverage: float) -> tuple[float, float]:
    """Jeffreys's interval for the mean of that many observations, fewer of them where their variance is unsure."""
    tail = (1 - coverage) / 2
    observations = moments.observations * (quantile(tail, np.inf) / quantile(tail, moments.freedom)) ** 2
    yes, no = observations * moments.mean + 0.5, observations * (1 - moments.mean) + 0.5
    # The half observations may move a bound past an extreme mean; a bound beyond its own mean would be absurd.
    low = min(float(betaincinv(yes, no, tail)), moments.mean)
    return low, max(float(betaincinv(yes, no, 1 - tail)), moments.mean)
