"""Bayesian bootstrap over products, for figures that are no mean of class means, such as macro F1.

    bootstrap_interval(lambda weights: macro_f1(confusion(truth, chosen, values, weights)), products)
    interval_of_draws(draws, point, products)          # draws that were made elsewhere

Every draw gives each product a random weight instead of leaving some out, so a rare value never vanishes from a draw.
The trade against intervals.py: any figure will do, but a value whose items all went one way, or came from one product,
adds no spread to any draw, so with rare values these intervals are too narrow by as much as
eval/benchmarks/interval_coverage.py says. Few products are allowed for: draws are spread out to what that many
independent products would show, with Student's quantiles. Nothing here knows what a statistic computes.
Source: Rubin, "The Bayesian bootstrap", Ann. Statist. 9 (1981) 130-134; Field & Welsh, "Bootstrapping clustered
data", J. R. Statist. Soc. B 69 (2007) 369-390.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Shaped

from clipadapt import keyed
from clipadapt.metrics.effective import quantile
from clipadapt.metrics.intervals import Interval

_HELD = 64 * 2**20
"""Bytes of item weights handed to a statistic at once."""

Statistic = Callable[[Float[np.ndarray, "draws items"]], Float[np.ndarray, " draws"]]
"""Item weights, one row per draw, to the figure under each; a row of ones gives the plain figure."""


def product_weights(
    products: Shaped[np.ndarray, " items"], draws: int, seed: int = 0
) -> Iterator[Float[np.ndarray, "chunk items"]]:
    """Dirichlet weights per product, mean 1 per product, spread over its items; some draws at a time."""
    names, place = np.unique(products, return_inverse=True)
    generator = keyed.generator(seed, "bayesian bootstrap", len(names))
    rows = max(1, _HELD // (8 * len(products)))
    for start in range(0, draws, rows):
        weights = generator.standard_exponential((min(rows, draws - start), len(names)))
        weights *= len(names) / weights.sum(axis=1, keepdims=True)
        yield weights[:, place]


def bootstrap_interval(
    statistic: Statistic,
    products: Shaped[np.ndarray, " items"],
    *,
    draws: int = 2_000,
    coverage: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Interval:
    """Interval of any figure of weighted items; a difference of two figures is a figure, with bounds (-1, 1).

    Raises:
        ValueError: fewer than two products, for one says nothing about how products differ.
    """
    point = float(statistic(np.ones((1, len(products))))[0])
    drawn = np.concatenate([statistic(weights) for weights in product_weights(products, draws, seed)])
    _, sizes = np.unique(products, return_counts=True)
    return interval_of_draws(drawn, point, float(sizes.sum() ** 2 / (sizes**2).sum()), coverage=coverage, bounds=bounds)


def interval_of_draws(
    draws: Float[np.ndarray, " draws"],
    point: float,
    products: float,
    *,
    coverage: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Percentiles of Bayesian bootstrap draws around the figure itself, spread out for few products.

    Args:
        draws: the figure under each draw.
        point: the figure as measured.
        products: how many the figure rests on; for a rare value those of its own items. Need not be whole: products
            of unequal size are worth (sum of sizes)^2 / sum of squared sizes.
        coverage: chance that the interval holds the figure over all products like these.
        bounds: of the figure.

    Raises:
        ValueError: fewer than two products.
    """
    if products < 2:
        raise ValueError(f"a figure that rests on {products:g} product(s) has no interval: one says nothing of spread")
    tail = (1 - coverage) / 2
    # Draws vary by sum of squares / (n (n + 1)); a mean of n independent products by sum of squares / (n (n - 1)).
    factor = np.sqrt((products + 1) / (products - 1)) * quantile(tail, products - 1) / quantile(tail, np.inf)
    low, high = point + factor * (np.quantile(draws, [tail, 1 - tail]) - point)
    return Interval(point, float(np.clip(low, bounds[0], point)), float(np.clip(high, point, bounds[1])))
