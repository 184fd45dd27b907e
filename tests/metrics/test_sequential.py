"""What may be read every day."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.metrics.arms import ArmMean
from clipadapt.metrics.sequential import always_valid_quantile, difference, information_needed, mismatch_p


def test_a_random_walk_that_is_watched_all_the_way_leaves_the_boundary_in_at_most_its_level():
    """1,000 steps, every one a look: 1.96 errors are left in most walks, these in less than 5%."""
    walks = np.random.default_rng(0).normal(size=(2_000, 1_000)).cumsum(axis=1)
    steps = np.arange(1, 1_001)
    scaled = np.abs(walks) / np.sqrt(steps)
    reach = np.array([always_valid_quantile(step, expected=0.2) for step in steps.tolist()])
    left, fixed = (scaled > reach).any(axis=1).mean(), (scaled > 1.96).any(axis=1).mean()
    assert left < 0.05 and fixed > 0.4
    assert (scaled[:, -1] > 1.96).mean() == pytest.approx(0.05, abs=0.015), "one look alone would be fine"


def test_the_boundary_is_where_the_ratio_of_likelihoods_reaches_1_over_the_level():
    """The mixture itself, integrated numerically over the prior."""
    information, expected = 250.0, 0.1
    estimate = always_valid_quantile(information, expected) / np.sqrt(information)
    true = np.linspace(-1.5, 1.5, 300_001)
    prior = np.exp(-(true**2) / (2 * expected**2)) / (expected * np.sqrt(2 * np.pi))
    ratio = np.exp(information * (estimate * true - true**2 / 2))
    assert float((prior * ratio).sum() * (true[1] - true[0])) == pytest.approx(1 / 0.05, rel=1e-6)


@given(st.floats(1e-4, 0.2), st.floats(0.001, 0.2), st.floats(0.5, 0.99))
def test_the_information_that_is_needed_gives_the_power(expected, level, power):
    from scipy.stats import norm

    information = information_needed(expected, level, power)
    reach = always_valid_quantile(information, expected, level)
    assert norm.sf(reach - expected * np.sqrt(information)) == pytest.approx(power, abs=1e-6)


def test_it_is_tightest_about_where_a_fixed_sample_would_have_sufficed():
    fixed = (1.96 + 0.84) ** 2 / 0.01**2
    reach = [always_valid_quantile(times * fixed, 0.01) for times in (0.01, 1, 100)]
    assert reach[1] < reach[0] and reach[1] < reach[2] and reach[1] / 1.96 == pytest.approx(1.55, abs=0.02)


def arm(mean: float, variance: float = 1e-4, scoring: int = 50) -> ArmMean:
    return ArmMean(mean, variance, 200, 2_000, scoring)


def test_a_difference_with_its_interval_and_reach():
    found = difference(arm(0.2), arm(0.1), expected=0.05)
    assert found is not None
    assert found.delta == pytest.approx(0.1) and found.low < 0.1 < found.high
    assert found.high - found.delta == pytest.approx(found.delta - found.low)
    assert found.minimum_detectable > found.delta - found.low


def test_there_is_no_interval_while_hardly_anybody_clicked():
    assert difference(arm(0.2, scoring=9), arm(0.1), expected=0.05) is None
    assert difference(arm(0.2), arm(0.1, scoring=9), expected=0.05) is None
    assert difference(arm(0.2, 0.0), arm(0.1, 0.0), expected=0.05) is None


def test_shares_are_watched_user_by_user():
    rng = np.random.default_rng(0)
    ps = np.array([mismatch_p(rng.random(3_000) < 0.3, 0.3) for _ in range(600)])
    assert (ps < 0.05).mean() < 0.05 and ps.max() <= 1
    assert mismatch_p(rng.random(3_000) < 0.36, 0.3) < 1e-6
    assert mismatch_p(np.array([], bool), 0.3) == 1.0
    with pytest.raises(ValueError, match="gives one arm nobody"):
        mismatch_p(np.ones(3, bool), 1.0)


def test_an_alarm_of_shares_is_not_forgotten_when_later_users_make_up_for_it():
    early = np.concatenate([np.ones(200, bool), np.zeros(200, bool)])
    assert mismatch_p(early, 0.5) < 1e-6
    assert mismatch_p(np.tile([True, False], 200), 0.5) == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [{"information": 0.0}, {"information": np.inf}, {"expected": 0.0}, {"level": 1.0}])
def test_what_is_no_information_is_refused(wrong):
    with pytest.raises(ValueError, match="all above 0"):
        always_valid_quantile(**({"information": 1.0, "expected": 0.1, "level": 0.05} | wrong))
