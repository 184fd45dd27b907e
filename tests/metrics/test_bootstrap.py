"""The Bayesian bootstrap: its known moments, its few-products allowance and its memory."""

import numpy as np
import pytest
from oracles.classification import confusion, macro_f1
from scipy.stats import t

from clipadapt.metrics import bootstrap
from clipadapt.metrics.bootstrap import bootstrap_interval, interval_of_draws, product_weights


def test_weights_are_dirichlet_over_products():
    place = np.repeat(np.arange(5), [1, 2, 3, 2, 2])
    weights = np.concatenate(list(product_weights(place, 20_000)))
    first = np.unique(place, return_index=True)[1]
    assert weights.shape == (20_000, 10)
    assert np.array_equal(weights, weights[:, first][:, place])  # one weight per product
    assert weights[:, first].sum(axis=1) == pytest.approx(5)
    assert (weights > 0).all()  # no product ever vanishes
    # A Dirichlet(1, ..., 1) share of 5 has mean 1/5 and variance 4 / (25 * 6).
    assert weights[:, first].var(axis=0) / 25 == pytest.approx(4 / 150, rel=0.06)


def test_chunks_do_not_change_the_draws(monkeypatch):
    place = np.arange(6)
    whole = np.concatenate(list(product_weights(place, 50, seed=4)))
    monkeypatch.setattr(bootstrap, "_HELD", 8 * 6 * 7)
    chunks = list(product_weights(place, 50, seed=4))
    assert len(chunks) == 8 and np.array_equal(np.concatenate(chunks), whole)


def test_mean_of_normal_products_has_students_interval():
    # For the mean of n values the draws' variance is known, so the result is close to the t interval.
    generator = np.random.default_rng(0)
    values = generator.normal(0.5, 0.05, 12)
    found = bootstrap_interval(lambda w: w @ values / w.sum(axis=1), np.arange(12), draws=20_000)
    half = t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)


def test_any_figure_and_differences_of_figures():
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 90)
    ours = np.where(generator.random(90) < 0.95, truth, generator.integers(0, 3, 90))
    theirs = np.where(generator.random(90) < 0.2, truth, generator.integers(0, 3, 90))
    place = np.repeat(np.arange(30), 3)

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.asarray(macro_f1(confusion(truth, ours, 3, weights)) - macro_f1(confusion(truth, theirs, 3, weights)))

    found = bootstrap_interval(difference, place, bounds=(-1.0, 1.0), draws=500)
    assert found.low > 0
    assert found == bootstrap_interval(difference, place, bounds=(-1.0, 1.0), draws=500)
    assert found != bootstrap_interval(difference, place, bounds=(-1.0, 1.0), draws=500, seed=1)


def test_few_products_widen_and_bounds_hold():
    draws = np.random.default_rng(0).normal(0.5, 0.1, 4_000)
    few, many = (interval_of_draws(draws, 0.5, products) for products in (4, 400))
    assert few.high - few.low > 1.9 * (many.high - many.low)
    edge = interval_of_draws(draws + 0.4, 0.9, 4)
    assert edge.high == 1.0 and edge.low < 0.9


def test_one_product_is_refused():
    with pytest.raises(ValueError, match="rests on 1 product"):
        bootstrap_interval(lambda w: w[:, 0], np.zeros(3))
