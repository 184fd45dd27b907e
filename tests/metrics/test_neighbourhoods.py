"""Places where new products crowd, beside slow counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.metrics.neighbourhoods import apart, crowding, fullness, neighbourhoods


def unit(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def vectors(rng: np.random.Generator, products: int, dim: int = 4) -> np.ndarray:
    return unit(rng.normal(0, 1, (products, dim)))


def slow(near: np.ndarray, size: int, group: np.ndarray, new: int) -> tuple[float, float]:
    """(mean ratio of the fullest hundredth, how far new products' neighbours are new beyond chance)."""
    old_count, new_count = int((group == 0).sum()), int((group == new).sum())
    expected = new_count / (old_count + new_count)
    ratios, shares = [], []
    for product, row in enumerate(near):
        inside = group[row[:size]].tolist()
        a, b = inside.count(new), inside.count(0)
        ratio = 0.0
        if a > (a + b) * expected:
            ratio = a * math.log(a / ((a + b) * expected))
            ratio += b * math.log(b / ((a + b) * (1 - expected))) if b else 0.0
        ratios.append(ratio)
        if group[product] == new and a + b > 1:
            shares.append((a - 1) / (a + b - 1))
    chance = (new_count - 1) / (new_count + old_count - 1)
    beyond = (float(np.mean(shares)) - chance) / (1 - chance) if shares else 0.0
    return float(np.mean(sorted(ratios)[-max(len(ratios) // 100, 1) :])), beyond


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(128, 330), st.integers(2, 4))
def test_counts_are_those_of_a_loop(seed: int, products: int, groups: int):
    rng = np.random.default_rng(seed)
    near = neighbourhoods(vectors(rng, products))
    labels = np.stack([rng.permutation(np.arange(products) % groups) for _ in range(3)], axis=1)
    sizes = np.bincount(labels[:, 0])
    found = crowding(near, labels, sizes)
    scales = [size for size in (16, 32, 64) if size * 8 <= products]
    assert found.shape == (3, groups - 1, len(scales))
    for new in range(1, groups):
        for draw in range(3):
            expected = [slow(near, size, labels[:, draw], new)[0] for size in scales]
            assert found[draw, new - 1] == pytest.approx(expected, abs=1e-9)
        each = np.sort(fullness(near, labels[:, 0], sizes, new), axis=0)[-max(products // 100, 1) :]
        assert each.mean(axis=0) == pytest.approx(found[0, new - 1])
        assert apart(near, labels[:, 0], sizes)[new - 1] == pytest.approx(slow(near, 16, labels[:, 0], new)[1])


def test_the_nearest_come_first_after_the_product_itself():
    near = neighbourhoods(own := vectors(np.random.default_rng(0), 700))
    assert near.shape == (700, 64) and (near[:, 0] == np.arange(700)).all()
    likeness = own.astype(np.float64) @ own.T.astype(np.float64)
    for row in range(700):
        order = [other for other in np.argsort(-likeness[row], kind="stable").tolist() if other != row]
        assert likeness[row, near[row, 1:]] == pytest.approx(likeness[row, order[:63]], abs=1e-6)


def test_few_products_have_no_neighbourhoods():
    near = neighbourhoods(vectors(np.random.default_rng(0), 100))
    group = np.repeat([0, 1], 50)
    assert near.shape == (100, 0)
    assert crowding(near, group[:, None], np.array([50, 50])).shape == (1, 1, 0)
    assert apart(near, group, np.array([50, 50])).tolist() == [0.0]


def test_a_neighbourhood_of_new_products_alone_is_as_full_as_can_be():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (180, 3)) - [9, 0, 0], rng.normal(9, 0.1, (20, 3))])
    near = neighbourhoods(unit(points))
    group = np.repeat([0, 1, 1], [160, 20, 20])
    sizes = np.bincount(group)
    assert crowding(near, group[:, None], sizes)[0, 0].tolist() == pytest.approx([16 * math.log(5)])
    # Twenty of its 40 products have new neighbours alone; the others as many as there are among the usual ones.
    own = [(group[row[1:16]] == 1).mean() for row in near[160:180]]
    expected = (10 + sum(own) / 2) / 20
    assert apart(near, group, sizes)[0] == pytest.approx((expected - 39 / 199) / (1 - 39 / 199))


def test_how_far_a_sample_stands_apart_is_nothing_without_drift_and_no_less_for_more_products():
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"calm": [], "a tenth": []}
    for products in (1500, 3000):
        group = np.repeat([0, 1], [products * 4 // 5, products // 5])
        points = rng.normal([6, 0, 0, 0], 1, (products, 4))
        found["calm"].append(apart(neighbourhoods(unit(points)), group, np.bincount(group))[0])
        points[-products // 50 :] = rng.normal([-6, 0, 0, 0], 0.1, (products // 50, 4))
        found["a tenth"].append(apart(neighbourhoods(unit(points)), group, np.bincount(group))[0])
    assert found["calm"] == pytest.approx([0, 0], abs=0.015)
    assert found["a tenth"] == pytest.approx([0.1, 0.1], abs=0.03)
