"""Places where new products crowd, beside slow counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.metrics.neighbourhoods import crowding, fullest, fullness, neighbourhoods


def kernel(rng: np.random.Generator, products: int, dim: int = 4) -> np.ndarray:
    points = rng.normal(0, 1, (products, dim))
    return np.exp(-((points[:, None] - points) ** 2).sum(axis=2)).astype(np.float32)


def slow(near: np.ndarray, size: int, group: np.ndarray, new: int) -> tuple[float, float]:
    """(mean ratio of the fullest hundredth, largest difference of shares)."""
    old_count, new_count = int((group == 0).sum()), int((group == new).sum())
    expected = new_count / (old_count + new_count)
    ratios, shares = [], []
    for row in near:
        inside = group[row[:size]].tolist()
        a, b = inside.count(new), inside.count(0)
        ratio = 0.0
        if a > (a + b) * expected:
            ratio = a * math.log(a / ((a + b) * expected))
            ratio += b * math.log(b / ((a + b) * (1 - expected))) if b else 0.0
        ratios.append(ratio)
        shares.append(a / new_count - b / old_count)
    return float(np.mean(sorted(ratios)[-max(len(ratios) // 100, 1) :])), max(shares)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(128, 330), st.integers(2, 4))
def test_counts_are_those_of_a_loop(seed: int, products: int, groups: int):
    rng = np.random.default_rng(seed)
    near = neighbourhoods(kernel(rng, products))
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
        largest = max(slow(near, size, labels[:, 0], new)[1] for size in scales)
        assert fullest(near, labels[:, 0], sizes)[new - 1] == pytest.approx(largest, abs=1e-6)


def test_the_nearest_come_first_after_the_product_itself():
    near = neighbourhoods(own := kernel(np.random.default_rng(0), 140))
    assert near.shape == (140, 16) and (near[:, 0] == np.arange(140)).all()
    for row in range(140):
        order = [other for other in np.argsort(-own[row], kind="stable").tolist() if other != row]
        assert near[row, 1:].tolist() == order[:15]


def test_few_products_have_no_neighbourhoods():
    near = neighbourhoods(kernel(np.random.default_rng(0), 100))
    group = np.repeat([0, 1], 50)
    assert near.shape == (100, 0)
    assert crowding(near, group[:, None], np.array([50, 50])).shape == (1, 1, 0)
    assert fullest(near, group, np.array([50, 50])).tolist() == [0.0]


def test_a_neighbourhood_of_new_products_alone_is_as_full_as_can_be():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (180, 3)), rng.normal(9, 0.1, (20, 3))])
    near = neighbourhoods(np.exp(-((points[:, None] - points) ** 2).sum(axis=2) / 50))
    group = np.repeat([0, 1, 1], [160, 20, 20])
    sizes = np.bincount(group)
    assert crowding(near, group[:, None], sizes)[0, 0].tolist() == pytest.approx([16 * math.log(5)])
    assert fullest(near, group, sizes).tolist() == pytest.approx([16 / 40])
