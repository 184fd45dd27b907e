"""Balanced accuracy and its paired difference, with intervals that hold for items clustered in products.

Linearised rather than resampled: every product's influence on the figure is known in closed form, so that a table of a
hundred differences over 100,000 items takes milliseconds, where a bootstrap takes minutes. The price is a symmetric
interval, which is poor below about ten products per value; a value with a single product has none. Scores in,
intervals out: nothing here knows of texts or models.
Source: Binder, "On the variances of asymptotically normal estimators from complex surveys", Int. Statist. Rev. 51
(1983) 279-292; the factor P / (P - 1) per value is the usual correction for few clusters.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Difference(NamedTuple):
    """A figure or a difference of two, and its interval; fractions. No bounds where one product stands alone."""

    mean: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Literal["helps", "hurts", "cannot be told"]:
        """On which side of zero the interval is."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "cannot be told"
        return "helps" if self.low > 0 else "hurts"

    def share(self) -> "Difference":
        """The same as a share of items, which no interval leaves."""
        low, high = (None if bound is None else min(max(bound, 0.0), 1.0) for bound in (self.low, self.high))
        return Difference(self.mean, low, high)


class Estimate(NamedTuple):
    """A figure and what each product contributes to its error."""

    mean: float
    influence: Float[np.ndarray, " products"]
    """Over all products of the split, so that estimates of one split can be averaged."""
    freedom: int
    """Degrees of freedom behind the variance."""

    def interval(self, coverage: float = 0.95) -> Difference:
        """By Student's t; no bounds without freedom."""
        return _interval(self.mean, float(self.influence @ self.influence), self.freedom, coverage)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of figures of one split; products that they share stay shared."""
    influence = np.mean([estimate.influence for estimate in estimates], axis=0)
    freedom = min(estimate.freedom for estimate in estimates)
    return Estimate(float(np.mean([estimate.mean for estimate in estimates])), influence, freedom)


@dataclass(frozen=True)
class Design:
    """Which value and which product each item has: the part of every interval that texts cannot change.

    Raises:
        ValueError: no items, or a value below the largest without items.
    """

    codes: Int[np.ndarray, " items"]
    """Value of each item, from 0."""
    products: Int[np.ndarray, " items"]
    """Product of each item among all products of the split."""
    all_products: int

    def __post_init__(self) -> None:
        if not len(self.codes) or not self.items.all():
            raise ValueError("a design needs items, and every code up to the largest has to occur")

    @functools.cached_property
    def items(self) -> Int[np.ndarray, " values"]:
        """Items per value."""
        return np.bincount(self.codes)

    @functools.cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        """The (value, product) pairs that occur, as one number each, and the pair of each item."""
        return np.unique(self.codes.astype(np.int64) * self.all_products + self.products, return_inverse=True)

    @functools.cached_property
    def value_products(self) -> Int[np.ndarray, " values"]:
        """Distinct products per value."""
        return np.bincount(self._cells[0] // self.all_products, minlength=len(self.items))

    @functools.cached_property
    def distinct_products(self) -> int:
        return len(np.unique(self.products))

    def balanced(self, scores: Float[np.ndarray, " items"]) -> Estimate:
        """Mean over values of the mean score."""
        means, spread = self._parts(scores)
        influence = np.bincount(self.products, spread / len(means), minlength=self.all_products)
        return Estimate(float(means.mean()), influence, self.distinct_products - len(means))

    def gain(self, differences: Float[np.ndarray, " items"], coverage: float = 0.95) -> Difference:
        """Mean over values of the mean paired difference, with an interval that holds for a handful of products.

        Where three products of a value all got better, what varies around their mean is nothing, and a linearised
        interval believes them. Here every value has one more product that got better and one that got worse: wider
        where products are few, the same where they are many. Values count as independent of each other.
        Source: Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
        paired data", J. Educ. Behav. Stat. 37 (2012) 479-488; per value, with products for trials.

        Args:
            differences: of two answers to the same items, -1 to 1.
        """
        places, inverse = self._cells
        value = places // self.all_products
        items = np.bincount(inverse)
        share = items / self.items[value]
        products = 1.0 / np.bincount(value, share**2)  # as many even ones as the uneven ones are worth
        mean = np.bincount(inverse, differences) / items
        better, worse = (
            (np.bincount(value, share * np.maximum(side, 0.0)) * products + 1.0) / (products + 2.0)
            for side in (mean, -mean)
        )
        centre = float((better - worse).mean())
        variance = ((better + worse - (better - worse) ** 2) / (products + 2.0)).sum() / len(products) ** 2
        half = float(stats.norm.ppf(0.5 + coverage / 2)) * math.sqrt(variance)
        raw = float(np.bincount(value, share * mean).mean())
        return Difference(raw, max(min(centre - half, raw), -1.0), min(max(centre + half, raw), 1.0))

    def by_value(self, scores: Float[np.ndarray, " items"], coverage: float = 0.95) -> list[Difference]:
        """Mean score per value, each with its interval."""
        means, spread = self._parts(scores)
        places, inverse = self._cells
        variances = np.bincount(places // self.all_products, np.bincount(inverse, spread) ** 2)
        found = zip(means.tolist(), variances.tolist(), self.value_products.tolist(), strict=True)
        return [_interval(mean, variance, products - 1, coverage) for mean, variance, products in found]

    def _parts(self, scores: Float[np.ndarray, " items"]) -> tuple[np.ndarray, np.ndarray]:
        """Mean per value, and each item's contribution to the error of its value's mean."""
        means = np.bincount(self.codes, scores) / self.items
        few = np.sqrt(self.value_products / np.maximum(self.value_products - 1, 1))
        return means, (scores - means[self.codes]) * (few / self.items)[self.codes]


def _interval(mean: float, variance: float, freedom: int, coverage: float) -> Difference:
    """Cut where no difference of shares can be."""
    if freedom < 1:
        return Difference(mean, None, None)
    half = float(stats.t.ppf(0.5 + coverage / 2, freedom)) * math.sqrt(variance)
    return Difference(mean, max(mean - half, -1.0), min(mean + half, 1.0))
