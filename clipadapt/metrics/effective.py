"""What a mean of class means over clustered items is worth: its variance, in independent observations.

Items of one product succeed and fail together, rare classes hold three to ten items of one to four products, and a
class with 0 of 5 right shows no spread at all. Neither a bootstrap over products nor a sandwich variance survives
that: both see no variance where there is one product or one outcome (eval/benchmarks/interval_coverage.py measures how
far they fall short). So the variance is modelled, with each unknown borrowed from where it can be seen:

    spread within a class     the class's own, shrunk towards the average class as if PRIOR_ITEMS items came from there,
                              with one pseudo-observation at the bounds so that it is never zero; then made unbiased
    correlation in a product  one for all classes, from the analysis of variance between products within classes
                              against within products, with a prior where few products have several items

The trade: a class whose products are far more alike than other classes' gets too narrow an interval. Nothing here
knows what a score means; scores are scaled to [0, 1] by the caller.
Source: Franco, Little, Louis & Slud, "Comparative study of confidence intervals for proportions in complex sample
surveys", J. Surv. Stat. Methodol. 7 (2019) 334-364, for modelled effective sample sizes; Searle, Casella & McCulloch,
"Variance Components" (1992), for the correlation.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

PRIOR_ITEMS = 2.0
"""How many items' worth of the average class each class's spread is drawn towards."""
PSEUDO = 1.0
"""Pseudo-observations at the bounds, half at each, shared by all classes."""
PRIOR_FREEDOM = 1.0
"""Degrees of freedom that the prior on spreads is worth."""
_CORRELATIONS = (np.arange(20) + 0.5) / 20
_LOG_PRIOR = 2 * np.log1p(-_CORRELATIONS)
"""Beta(1, 3): correlations from 0 to 1 are possible, low ones likelier; mean 1/4."""
_SOFTENING = 0.5
"""Degrees of freedom's worth of the common mean square added above and below, so that neither is zero."""


class Spread(NamedTuple):
    """How far a mean can be trusted, on the scale of [0, 1]."""

    mean: float
    variance: float
    observations: float
    """Independent yes/no observations that would give this mean this variance."""
    freedom: float
    """Degrees of freedom behind the variance; infinite for yes/no scores, whose variance follows from the mean."""
    correlation: float
    """Between items of one product."""


class Cells(NamedTuple):
    """Sums of scores by product and class, one row for each pair that occurs."""

    items: Float[np.ndarray, " cells"]
    scores: Float[np.ndarray, " cells"]
    squares: Float[np.ndarray, " cells"]
    product: Int[np.ndarray, " cells"]
    cls: Int[np.ndarray, " cells"]
    classes: int

    def by_class(self, values: Float[np.ndarray, " cells"]) -> Float[np.ndarray, " classes"]:
        """Sums over the products of each class."""
        return np.bincount(self.cls, values, minlength=self.classes)

    def each_class(self) -> "Iterator[Cells]":
        """The cells of one class after the other, each as the only class."""
        order = np.argsort(self.cls, kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(self.cls, minlength=self.classes))[:-1]):
            items, scores, squares = self.items[rows], self.scores[rows], self.squares[rows]
            yield Cells(items, scores, squares, self.product[rows], np.zeros(len(rows), np.int64), 1)


class Layout(NamedTuple):
    """Which product and class each item is of: the part of cells that scores cannot change."""

    place: Int[np.ndarray, " items"]
    """Cell of each item."""
    product: Int[np.ndarray, " cells"]
    cls: Int[np.ndarray, " cells"]
    classes: int

    @classmethod
    def of(cls, classes: Int[np.ndarray, " items"], products: Int[np.ndarray, " items"], number: int) -> "Layout":
        """Items grouped; `number` of classes, whether or not all occur."""
        pairs, place = np.unique(products.astype(np.int64) * number + classes, return_inverse=True)
        return cls(place, pairs // number, pairs % number, number)

    def cells(self, scores: Float[np.ndarray, " items"]) -> Cells:
        """Items summed into cells."""
        counts = np.bincount(self.place).astype(np.float64)
        sums, squares = (np.bincount(self.place, part) for part in (scores, scores * scores))
        return Cells(counts, sums, squares, self.product, self.cls, self.classes)


def spread(
    cells: Cells,
    weights: Float[np.ndarray, " classes"],
    *,
    yes_or_no: bool = True,
    other_variance: float = 0.0,
    rho: float | None = None,
) -> Spread:
    """Of the weighted mean of class means; classes of weight 0 only help to tell the correlation within products.

    Args:
        cells: every class of positive weight has items.
        weights: sum to 1.
        yes_or_no: scores of plain items, whose variance the mean bounds; False for differences, which get no
            degrees of freedom since their pseudo-observation, at the far ends of a wider range, already widens more.
        other_variance: from sources that are not in the cells, independent of them.
        rho: correlation between items of one product, where more is known of it than these cells say.
    """
    rho = correlation(cells) if rho is None else rho
    items, sums, squares = (cells.by_class(part) for part in (cells.items, cells.scores, cells.squares))
    used = weights > 0
    items = np.where(items > 0, items, 1.0)  # classes without items are not used
    lean = weights / (items + PRIOR_ITEMS)
    typical = 1 / lean.sum() - PRIOR_ITEMS  # items of the class that leans on the others as much as all do on average
    mass = PSEUDO * (weights**2).sum() / typical
    pool = lean / lean.sum()
    mean = (pool @ (sums / items) + mass / 2) / (1 + mass)
    square = (pool @ (squares / items) + mass / 2) / (1 + mass)
    shrunk = (sums + PRIOR_ITEMS * mean) / (items + PRIOR_ITEMS)
    variances = np.maximum((squares + PRIOR_ITEMS * square) / (items + PRIOR_ITEMS) - shrunk**2, 1e-12)
    share = np.clip(variances / np.maximum(shrunk * (1 - shrunk), 1e-12), 0.0, 1.0)
    weight_of_class = items / (items + PRIOR_ITEMS)  # of a class in its shrunk mean
    sizes = cells.by_class(cells.items**2) / items  # items of the product that an item belongs to, on average
    sizes = np.where(sizes > 0, sizes, 1.0)
    inflation = 1 + (sizes - 1) * rho
    variances = variances / (1 - weight_of_class**2 * inflation / items)  # what estimating its mean took off
    variance = _variance(cells, weights / items, variances, rho)
    # The shrunk mean's own variance hides in mean * (1 - mean); put back, one class has exactly items / inflation.
    hidden = _variance(cells, weights / items * weight_of_class, variances, rho) / variance
    total = variance + other_variance
    middle = float(weights @ shrunk)
    freedom = np.inf
    if yes_or_no:
        by_class = (weights**2 * variances * inflation / items)[used]
        behind = _freedom(cells, shrunk, items / sizes - 1)[used] + PRIOR_FREEDOM
        # A share of 1: yes/no scores. A small one: scores close together, whose variance had to be estimated.
        freedom = float(total**2 / np.maximum((by_class**2 * (1 - share[used]) / behind).sum(), 1e-300))
    observations = middle * (1 - middle) / total + hidden * variance / total
    return Spread(float(weights @ (sums / items)), float(total), float(observations), freedom, rho)


def quantile(tail: float, freedom: float) -> float:
    """Student's t beyond which a share `tail` lies; normal where freedom is infinite."""
    return float(-stdtrit(min(freedom, 1e9), tail))


def correlation(cells: Cells) -> float:
    """Mean of the posterior of the correlation between items of one product, given the F ratio of products.

    The prior's mean, 1/4, where no product has two items or no class two products.
    """
    items = cells.by_class(cells.items)
    occurring = items > 0
    items, sums = items[occurring], cells.by_class(cells.scores)[occurring]
    explained = (cells.scores**2 / cells.items).sum()
    between = explained - (sums**2 / items).sum()
    within = cells.squares.sum() - explained
    above = len(cells.items) - len(items)
    below = items.sum() - len(cells.items)
    likelihood = _LOG_PRIOR
    if above > 0 and below > 0 and between + within > 1e-12:
        square = _SOFTENING * (between + within) / (above + below)
        size = (items.sum() - (cells.by_class(cells.items**2)[occurring] / items).sum()) / above
        expected = 1 + size * _CORRELATIONS / (1 - _CORRELATIONS)
        ratio = (between + square) / (above + _SOFTENING) / ((within + square) / (below + _SOFTENING)) / expected
        density = (above / 2 - 1) * np.log(ratio) - (above + below) / 2 * np.log1p(above * ratio / below)
        likelihood = likelihood + density - np.log(expected)
    chance = np.exp(likelihood - likelihood.max())
    return float(chance @ _CORRELATIONS / chance.sum())


def _variance(cells: Cells, weights: np.ndarray, variances: np.ndarray, rho: float) -> float:
    """Of sums of items, each weighted by its class; items of one product correlate also across classes."""
    per_item = (weights * np.sqrt(variances))[cells.cls]
    alone = (cells.items * per_item**2).sum()
    together = (np.bincount(cells.product, cells.items * per_item) ** 2).sum()
    return float((1 - rho) * alone + rho * together)


def _freedom(cells: Cells, means: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Of each class's variance, from how heavy the tails of its products' residuals are; at most `most`."""
    residuals = cells.scores - cells.items * means[cells.cls]
    products = np.maximum(cells.by_class(np.ones_like(residuals)), 1)
    second = np.maximum(cells.by_class(residuals**2) / products, 1e-12)
    kurtosis = cells.by_class(residuals**4) / products / second**2
    return np.clip(2 * products / np.maximum(kurtosis - 1, 0.2), 0, np.maximum(most, 0))
