"""Intervals from Bayesian bootstrap draws over products, for figures that are no mean of class means.

    interval_of_draws(draws, point, products)

Those are macro F1, and every figure of a search over a gallery but average precision: P@k, R-precision, nDCG. A draw
gives each product a random weight instead of leaving some out, so a rare value never vanishes from one (the weights
are statistics/sampling's). Draws are spread out to what that many independent products would show, with Student's
quantiles. The trade against intervals.py: any figure will do, but where all items of a value went one way, or are of
one product, no draw varies, and the interval is too narrow. The coverage of these figures' intervals has not been
measured; that of the plain percentile bootstrap, without the spreading, stands in eval/results/interval_coverage.json:
as low as 37% where 95% is wanted, with rare values. Nothing here knows what a figure means.
Source: Rubin, "The Bayesian bootstrap", Ann. Statist. 9 (1981) 130-134; Field & Welsh, "Bootstrapping clustered
data", J. R. Statist. Soc. B 69 (2007) 369-390.
"""

import numpy as np
from jaxtyping import Float

from clipadapt.metrics.effective import quantile
from clipadapt.metrics.intervals import Interval


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
        bounds: of the figure; (-1, 1) for a difference of two.

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
