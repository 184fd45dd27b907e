"""The interval from Bayesian bootstrap draws: Student's where that is known, and its allowance for few products."""

import numpy as np
import pytest
from oracles.classification import confusion, macro_f1
from scipy.stats import t

from clipadapt.metrics.bootstrap import interval_of_draws


def product_weights(products: int, draws: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_exponential((draws, products))


def test_mean_of_normal_products_has_students_interval():
    # For the mean of n values the draws' variance is known, so the result is close to the t interval.
    values = np.random.default_rng(0).normal(0.5, 0.05, 12)
    weights = product_weights(12, 20_000)
    found = interval_of_draws(weights @ values / weights.sum(axis=1), float(values.mean()), 12)
    half = t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)


def test_a_difference_of_macro_f1_is_seen():
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 90)
    ours = np.where(generator.random(90) < 0.95, truth, generator.integers(0, 3, 90))
    theirs = np.where(generator.random(90) < 0.2, truth, generator.integers(0, 3, 90))
    weights = np.repeat(product_weights(30, 500), 3, axis=1)

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.asarray(macro_f1(confusion(truth, ours, 3, weights)) - macro_f1(confusion(truth, theirs, 3, weights)))

    point = float(difference(np.ones((1, 90)))[0])
    found = interval_of_draws(difference(weights), point, 30, bounds=(-1.0, 1.0))
    assert 0 < found.low < point < found.high
    swapped = interval_of_draws(-difference(weights), -point, 30, bounds=(-1.0, 1.0))
    assert swapped.low == pytest.approx(-found.high) and swapped.high == pytest.approx(-found.low)


def test_few_products_widen_and_bounds_hold():
    draws = np.random.default_rng(0).normal(0.5, 0.1, 4_000)
    few, many = (interval_of_draws(draws, 0.5, products) for products in (4, 400))
    assert few.high - few.low > 1.9 * (many.high - many.low)
    edge = interval_of_draws(draws + 0.4, 0.9, 4)
    assert edge.high == 1.0 and edge.low < 0.9


def test_one_product_is_refused():
    with pytest.raises(ValueError, match="rests on 1 product"):
        interval_of_draws(np.zeros(3), 0.0, 1)
