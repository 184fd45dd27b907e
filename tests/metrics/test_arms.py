"""The mean of one arm, clustered by user."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clipadapt.metrics.arms import arm_mean


def test_four_users_by_hand():
    found = arm_mean(np.array([1.0, 0.0, 2.0, 1.0]), np.array([2.0, 2.0, 2.0, 2.0]), np.arange(4))
    residuals = np.array([1.0, 0.0, 2.0, 1.0]) - 0.5 * 2
    assert found.mean == 0.5 and found.variance == pytest.approx((residuals**2).sum() / 8**2 * 4 / 3)
    assert (found.users, found.items, found.scoring) == (4, 8, 3)


def test_with_one_item_a_user_it_is_the_plain_standard_error():
    scores = np.random.default_rng(0).random(50)
    found = arm_mean(scores, np.ones(50), np.arange(50))
    assert found.mean == pytest.approx(scores.mean()) and found.variance == pytest.approx(scores.var(ddof=1) / 50)


@given(st.data())
def test_how_a_users_items_are_summed_into_cells_does_not_matter(data):
    users = data.draw(hnp.arrays(np.int64, 12, elements=st.integers(0, 3)))
    clicks = data.draw(hnp.arrays(np.float64, 12, elements=st.sampled_from([0.0, 1.0])))
    if len(np.unique(users)) < 2:
        return
    whole = arm_mean(clicks, np.ones(12), users)
    names, place = np.unique(users, return_inverse=True)
    summed = arm_mean(np.bincount(place, clicks), np.bincount(place).astype(float), names)
    assert np.allclose(whole, summed)


def test_positions_are_weighed_as_given_not_as_shown():
    scores, counts = np.array([2.0, 0.0, 1.0, 1.0]), np.array([2.0, 8.0, 1.0, 9.0])
    found = arm_mean(scores, counts, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([0.5, 0.5]))
    assert found.mean == pytest.approx(0.5 * 3 / 3 + 0.5 * 1 / 17)
    residuals = [0.5 / 3 * (2 - 2) + 0.5 / 17 * (0 - 8 / 17), 0.5 / 3 * (1 - 1) + 0.5 / 17 * (1 - 9 / 17)]
    assert found.variance == pytest.approx(2 * np.square(residuals).sum())


def test_the_variance_is_what_a_bootstrap_of_users_finds_where_heavy_users_click_less():
    rng = np.random.default_rng(0)
    shown = 1 + rng.poisson(rng.lognormal(1, 1.2, 3_000))
    clicks = rng.binomial(shown, np.clip(0.3 / np.sqrt(shown), 0, 1)).astype(float)
    draws = [
        arm_mean(clicks[pick], shown[pick].astype(float), np.arange(3_000)).mean
        for pick in rng.integers(0, 3_000, (400, 3_000))
    ]
    found = arm_mean(clicks, shown.astype(float), np.arange(3_000))
    assert np.std(draws) == pytest.approx(np.sqrt(found.variance), rel=0.12)


def test_what_says_nothing_about_spread_is_refused():
    with pytest.raises(ValueError, match="1 user"):
        arm_mean(np.ones(3), np.ones(3), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="weighed"):
        arm_mean(np.ones(3), np.ones(3), np.arange(3), np.zeros(3, np.int64), np.array([0.5, 0.5]))
