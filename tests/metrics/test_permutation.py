"""Swap tests against full enumeration and by hand; Holm against the published procedure."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.metrics.permutation import EXACT, holm, swap_p


@settings(max_examples=40, deadline=None)
@given(products=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_equals_enumeration(products, seed):
    generator = np.random.default_rng(seed)
    places = generator.integers(0, products, 15)
    differences = generator.integers(-2, 3, 15).astype(float)
    sums = [differences[places == one].sum() for one in np.unique(places)]
    seen = abs(sum(sums))
    swaps = [abs(np.dot(signs, sums)) >= seen - 1e-9 for signs in product((1, -1), repeat=len(sums))]
    assert swap_p(differences, places) == pytest.approx(np.mean(swaps))


def test_by_hand():
    # Five products, all better by as much: 2 of 32 swaps are as extreme.
    assert swap_p(np.ones(10), np.repeat(np.arange(5), 2)) == pytest.approx(2 / 32)
    assert swap_p(np.zeros(4), np.arange(4)) == 1.0
    assert swap_p(np.array([1.0, -1.0]), np.zeros(2)) == 1.0  # one product, no difference within it


def test_items_of_a_product_count_once():
    # Ten equal photos of three products are three observations, not ten.
    differences = np.ones(10)
    assert swap_p(differences, np.arange(10) % 3) == pytest.approx(2 / 8)
    assert swap_p(differences, np.arange(10)) == pytest.approx(2 / 1024)


def test_sampling_agrees_with_exact_and_repeats():
    generator = np.random.default_rng(1)
    differences = generator.normal(0.3, 1, EXACT)
    exact = swap_p(differences, np.arange(EXACT))
    padded = np.concatenate([differences, [1e-9, -1e-9]])  # two more products push it over to sampling
    sampled = swap_p(padded, np.arange(EXACT + 2), draws=20_000, seed=3)
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert sampled == swap_p(padded, np.arange(EXACT + 2), draws=20_000, seed=3)


def test_sampled_p_is_never_zero():
    assert swap_p(np.ones(100), np.arange(100), draws=99) == pytest.approx(1 / 100)


def test_level_under_the_null():
    generator = np.random.default_rng(0)
    ps = [
        swap_p(
            generator.normal(size=40) + np.repeat(generator.normal(size=20), 2), np.repeat(np.arange(20), 2), draws=99
        )
        for _ in range(1_000)
    ]
    assert np.mean(np.array(ps) <= 0.05) == pytest.approx(0.05, abs=0.022)  # three standard errors


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
