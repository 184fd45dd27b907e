"""The studentised swap test against its definition, its level, and what it is for."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.metrics.studentised import balanced_swap_p


def slow_statistic(differences, classes, products, weights) -> tuple[float, float, dict]:
    """The weighted mean of class means over its clustered standard error, item by item."""
    total, residuals = 0.0, dict.fromkeys(products.tolist(), 0.0)
    sums = dict.fromkeys(products.tolist(), 0.0)
    for code, weight in enumerate(weights):
        own = classes == code
        if not weight or not own.any():
            continue
        mean = differences[own].mean()
        total += weight * mean
        for one, name in zip(differences[own], products[own].tolist(), strict=True):
            residuals[name] += weight * (one - mean) / own.sum()
            sums[name] += weight * one / own.sum()
    return total, sum(value**2 for value in residuals.values()), sums


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_its_definition_over_all_swaps(seed):
    rng = np.random.default_rng(seed)
    classes, products = rng.integers(0, 3, 14), rng.integers(0, 6, 14)
    differences = rng.integers(-1, 2, 14).astype(float)
    weights = np.array([0.5, 0.5, 0.0])
    weights = weights * (np.bincount(classes, minlength=3) > 0)
    if not weights.any():
        return
    weights = weights / weights.sum()
    used = weights[classes] > 0
    names = [
        one
        for one in np.unique(products[used])
        if any((differences[used & (products == one) & (classes == code)]).sum() != 0 for code in range(3))
    ]
    if not names:
        assert balanced_swap_p(differences, classes, products, weights) == 1.0
        return

    def squared(signs) -> float:
        flipped = differences.copy()
        for sign, name in zip(signs, names, strict=True):
            flipped[products == name] *= sign
        total, around, sums = slow_statistic(flipped[used], classes[used], products[used], weights)
        typical = np.mean([sums[name] ** 2 for name in names])
        return float(total**2 / max(around + typical, 1e-300))

    seen = squared([1] * len(names))
    expected = np.mean([squared(signs) >= seen - 1e-9 for signs in product((1, -1), repeat=len(names))])
    assert balanced_swap_p(differences, classes, products, weights) == pytest.approx(expected)


def test_one_class_and_one_item_a_product_is_the_plain_test():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.5, 1, 12)
    one = np.zeros(12, np.int64)
    seen = abs(differences.sum())
    plain = np.mean([abs(np.dot(signs, differences)) >= seen - 1e-9 for signs in product((1, -1), repeat=12)])
    assert balanced_swap_p(differences, one, np.arange(12), np.ones(1)) == pytest.approx(plain)


def moved_apart(rng: np.random.Generator, extra: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five classes, one system moved up on two and down on two, and by `extra` on all; two items to a product."""
    sizes = [120, 100, 80, 60, 40]
    shift = np.array([0.3, -0.3, 0.25, -0.25, 0.0]) + extra
    classes = np.repeat(np.arange(5), sizes)
    before = rng.random(len(classes)) < 0.45
    chance = rng.random(len(classes))
    up, down = shift[classes] / 0.55, -shift[classes] / 0.45
    after = np.where(shift[classes] > 0, before | (chance < up), before & (chance >= down))
    return after * 1.0 - before, classes, np.arange(len(classes)) // 2


def test_level_and_power_when_classes_move_apart():
    rng = np.random.default_rng(0)
    weights = np.full(5, 0.2)

    def found(extra: float, worlds: int) -> float:
        tried = (moved_apart(rng, extra) for _ in range(worlds))
        return float(np.mean([balanced_swap_p(*world, weights, draws=199) <= 0.05 for world in tried]))

    assert found(0.0, 300) == pytest.approx(0.05, abs=0.038)  # three standard errors
    assert found(0.06, 100) > 0.7


def test_repeats_and_is_never_zero():
    rng = np.random.default_rng(0)
    world = moved_apart(rng, 0.3)
    p = balanced_swap_p(*world, np.full(5, 0.2), draws=99, seed=1)
    assert p == balanced_swap_p(*world, np.full(5, 0.2), draws=99, seed=1) == pytest.approx(1 / 100)


def test_no_difference_at_all():
    assert balanced_swap_p(np.zeros(4), np.zeros(4, np.int64), np.arange(4), np.ones(1)) == 1.0
