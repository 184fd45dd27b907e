"""Shares of values, several samples against one reference."""

import numpy as np
import pytest

from clipadapt.metrics.rates import compare_rates, difference_interval
from clipadapt.metrics.two_samples import jointly


def test_differences_are_those_of_means_over_units_that_know():
    shares = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.5], [1.0, 0.0], [0.3, 0.9]])
    known = np.array([[1, 1], [1, 0], [1, 1], [1, 1], [1, 1], [0, 1]], bool)
    groups = np.array([0, 0, 1, 1, 2, 2])
    found = compare_rates(shares, known, groups, permutations=19, rng=np.random.default_rng(0))
    assert found.effect.tolist() == pytest.approx([0.0 - 0.75, 0.75 - 0.0, 1.0 - 0.75, 0.45 - 0.0])
    assert found.permuted.shape == (19, 4) and ((found.p >= 1 / 20) & (found.p <= 1)).all()


def test_p_is_that_of_every_labelling():
    """Three units that have it against three that have not: 2 of the 20 labellings differ as much, either way."""
    shares = np.repeat([[1.0], [0.0]], 3, axis=0)
    found = compare_rates(
        shares, np.ones((6, 1), bool), np.repeat([0, 1], 3), permutations=4_999, rng=np.random.default_rng(1)
    )
    assert found.p[0] == pytest.approx(0.1, abs=0.015)


def test_false_alarms_over_many_values_and_windows_are_at_the_level():
    """Heavy users, rare values, unknown cells; the share of 300 reports with any alarm at 10%."""
    alarms, worst = 0, np.array([0.4, 0.2, 0.1, 0.02, 0.01, 0.3])
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own = np.clip(rng.normal(worst, 0.1 * worst**0.5, (90, 6)), 0, 1)
        shares = rng.binomial(counts := rng.integers(1, 40, (90, 1)), own) / counts
        known = rng.random((90, 6)) < 0.9
        groups = np.repeat([0, 1, 2], [50, 25, 15])
        found = compare_rates(shares, known, groups, permutations=99, rng=rng)
        alarms += jointly([found])[0].min() <= 0.1
    assert 14 <= alarms <= 47  # 30 expected, +- 3 standard deviations


def test_a_changed_share_is_found_and_the_others_are_not():
    rng = np.random.default_rng(2)
    shares = (rng.random((400, 3)) < [0.3, 0.2, 0.1]).astype(float)
    groups = np.repeat([0, 1], 200)
    shares[groups == 1, 1] = rng.random(200) < 0.45
    found = compare_rates(shares, np.ones_like(shares, bool), groups, permutations=199, rng=rng)
    assert (jointly([found])[0] <= 0.05).tolist() == [False, True, False]


def test_the_interval_of_a_difference_covers_it_and_stays_in_bounds():
    covered = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        old, new = (rng.random(60) < 0.05).astype(float), (rng.random(30) < 0.15).astype(float)
        found = difference_interval(old, new)
        assert -1 <= found.low <= found.mean <= found.high <= 1 and found.low < found.high
        covered += found.low <= 0.10 <= found.high
    assert 370 <= covered <= 396
    nothing = difference_interval(np.zeros(10), np.zeros(10))
    assert nothing.low < 0 == nothing.mean < nothing.high


def test_samples_of_one_unit_are_refused():
    with pytest.raises(ValueError, match="each needs two"):
        compare_rates(np.ones((3, 1)), np.ones((3, 1), bool), np.array([0, 0, 1]), permutations=9,
                      rng=np.random.default_rng(0))  # fmt: skip
