"""Intervals: closed forms where there are any, invariances, and the promises about degenerate data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from clipadapt.metrics.effective import Layout, correlation
from clipadapt.metrics.intervals import Difference, Interval, Sample, balanced_interval, paired_balanced


def clustered(seed, products=12, classes=3, photos=4):
    generator = np.random.default_rng(seed)
    place = np.repeat(np.arange(products), generator.integers(1, photos + 1, products))
    return (
        (generator.random(len(place)) < 0.6).astype(float),
        (place % classes),
        place,
        (generator.random(len(place)) < 0.5).astype(float),
    )


def mean_interval(scores, products, **options) -> Interval:
    """Of a plain mean: one class."""
    return balanced_interval(scores, np.zeros(len(products), np.int64), products, **options)


def paired_mean(scores, against, products, **options) -> Difference:
    return paired_balanced(scores, against, np.zeros(len(products), np.int64), products, **options)


@pytest.mark.parametrize("right", [0, 1, 7, 20])
def test_one_photo_per_product_is_jeffreys_interval(right):
    scores = (np.arange(20) < right).astype(float)
    found = mean_interval(scores, np.arange(20))
    low, high = beta.ppf([0.025, 0.975], right + 0.5, 20 - right + 0.5)
    assert found.mean == right / 20
    assert found.low == pytest.approx(0 if right == 0 else low, rel=1e-6)
    assert found.high == pytest.approx(1 if right == 20 else high, rel=1e-6)


def test_photos_that_repeat_their_product_add_little():
    scores = (np.arange(30) < 18).astype(float)
    once = mean_interval(scores, np.arange(30))
    five_times = mean_interval(np.repeat(scores, 5), np.repeat(np.arange(30), 5))
    as_if_independent = mean_interval(np.repeat(scores, 5), np.arange(150))
    assert five_times.high - five_times.low == pytest.approx(once.high - once.low, rel=0.05)
    assert as_if_independent.high - as_if_independent.low < 0.6 * (once.high - once.low)


def test_unrelated_photos_count_nearly_in_full():
    generator = np.random.default_rng(0)
    scores, place = (generator.random(600) < 0.5).astype(float), np.repeat(np.arange(150), 4)
    clustered_, plain = mean_interval(scores, place), mean_interval(scores, np.arange(600))
    assert clustered_.high - clustered_.low < 1.15 * (plain.high - plain.low)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7])
def test_correlation_is_found_where_there_is_enough_data(rho):
    generator = np.random.default_rng(5)
    place = np.repeat(np.arange(2_000), 3)
    scores = np.sqrt(rho) * generator.normal(size=2_000)[place] + np.sqrt(1 - rho) * generator.normal(size=6_000)
    found = correlation(Layout.of(place % 2, place, 2).cells(scores))
    assert found == pytest.approx(rho, abs=0.04)


def test_correlation_cannot_be_told_from_single_photos():
    assert correlation(Layout.of(np.zeros(3, int), np.arange(3), 1).cells(np.array([0.0, 1.0, 1.0]))) == pytest.approx(
        0.25, abs=0.01
    )


def test_all_right_in_a_few_rare_classes_is_not_certainty():
    classes, place = np.repeat(np.arange(3), 5), np.repeat(np.arange(6), [3, 2, 3, 2, 3, 2])
    found = balanced_interval(np.ones(15), classes, place)
    assert found.mean == found.high == 1
    assert 0.6 < found.low < 0.95
    nothing = paired_balanced(np.ones(15), np.ones(15), classes, place)
    assert nothing.delta == 0 and nothing.p == 1
    assert nothing.delta_low < -0.05 and nothing.delta_high > 0.05
    assert nothing.minimum_detectable > 0.1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), products=st.integers(2, 15), classes=st.integers(1, 4))
def test_bounds_hold_the_mean_and_stay_in_range(seed, products, classes):
    scores, codes, place, against = clustered(seed, products, min(classes, products))
    for found in (balanced_interval(scores, codes, place), mean_interval(scores, place)):
        assert 0 <= found.low <= found.mean <= found.high <= 1
        assert found.high > found.low
    difference = paired_balanced(scores, against, codes, place, draws=99)
    assert -1 <= difference.delta_low <= difference.delta <= difference.delta_high <= 1
    assert 0 < difference.p <= 1
    assert 0 < difference.minimum_detectable <= 1


def test_balanced_mean_is_the_mean_of_class_means():
    scores, codes, place, against = clustered(3)
    means = [scores[codes == one].mean() for one in range(3)]
    assert balanced_interval(scores, codes, place).mean == pytest.approx(np.mean(means))
    weights = np.array([0.2, 0.0, 0.8])
    assert balanced_interval(scores, codes, place, weights).mean == pytest.approx(weights @ means)
    others = [against[codes == one].mean() for one in range(3)]
    delta = paired_balanced(scores, against, codes, place, weights).delta
    assert delta == pytest.approx(weights @ means - weights @ others)


def test_names_and_order_of_products_classes_and_items_do_not_matter():
    scores, codes, place, against = clustered(4)
    names = np.array([f"product {chr(90 - one)}" for one in place])
    moved = np.random.default_rng(0).permutation(len(place))
    first = balanced_interval(scores, codes, place)
    assert balanced_interval(scores[moved], 2 - codes[moved], names[moved]) == pytest.approx(first)
    difference = paired_balanced(scores, against, codes, place)
    assert paired_balanced(scores[moved], against[moved], codes[moved], names[moved]) == pytest.approx(difference)


def test_wrong_instead_of_right_mirrors_the_interval():
    scores, codes, place, against = clustered(6)
    found, mirrored = balanced_interval(scores, codes, place), balanced_interval(1 - scores, codes, place)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)
    one, other = paired_balanced(scores, against, codes, place), paired_balanced(against, scores, codes, place)
    assert (other.delta_low, other.delta_high) == pytest.approx((-one.delta_high, -one.delta_low), abs=1e-9)
    assert other.p == one.p


def test_more_products_narrow_and_more_coverage_widens():
    generator = np.random.default_rng(2)
    widths = []
    for products in (10, 40, 160):
        place = np.repeat(np.arange(products), 3)
        found = mean_interval(generator.random(len(place)), place)
        widths.append(found.high - found.low)
    assert widths[0] > 1.6 * widths[1] > 1.6 * 1.6 * widths[2]
    wide, narrow = (mean_interval(generator.random(30), np.arange(30), coverage=c) for c in (0.99, 0.8))
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)


def test_pairing_uses_what_systems_share():
    generator = np.random.default_rng(8)
    place = np.repeat(np.arange(60), 3)
    hard = generator.random(180)
    ours, theirs = (hard < 0.6).astype(float), (hard < 0.5).astype(float)
    apart = mean_interval(ours, place)
    together = paired_mean(ours, theirs, place)
    assert together.delta_high - together.delta_low < apart.high - apart.low
    assert together.delta_low > 0 and together.p < 0.01


def test_minimum_detectable_is_what_would_be_seen_four_times_in_five():
    generator = np.random.default_rng(9)
    place = np.arange(200)
    noise = generator.uniform(0.3, 0.7, (2, 200))
    reach = paired_mean(noise[0], noise[1], place).minimum_detectable
    seen = 0
    for _ in range(300):
        ours, theirs = generator.uniform(0.3, 0.7, (2, 200))
        found = paired_mean(np.clip(ours + reach, 0, 1), np.clip(theirs, 0, 1), place, draws=9)
        seen += found.delta_low > 0
    assert seen / 300 == pytest.approx(0.8, abs=0.1)


def test_other_variance_widens():
    scores, _, place, against = clustered(5)
    plain, wide = (mean_interval(scores, place, other_variance=v) for v in (0.0, 0.02))
    assert wide.high - wide.low > 1.2 * (plain.high - plain.low)
    plain, wide = (paired_mean(scores, against, place, other_variance=v) for v in (0.0, 0.1))
    assert wide.delta_high - wide.delta_low > 1.2 * (plain.delta_high - plain.delta_low)


def test_faults_are_named():
    good, place = np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1])
    with pytest.raises(ValueError, match="one product"):
        mean_interval(good, np.zeros(3))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        mean_interval(np.array([0.0, 1.5]), np.arange(2))
    with pytest.raises(ValueError, match="be numbers"):
        mean_interval(np.array([0.0, np.nan]), np.arange(2))
    with pytest.raises(ValueError, match="0 classes and 0 products"):
        mean_interval(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="add up to 1"):
        balanced_interval(good, place, place, np.array([0.5, 0.6]))
    with pytest.raises(ValueError, match="has no items"):
        balanced_interval(good, place, place, np.array([0.5, 0.25, 0.25]))


def test_a_class_without_weight_and_items_changes_nothing():
    left, classes, place, right = clustered(3)
    plain = paired_balanced(left, right, classes, place)
    weights = np.array([1 / 3, 1 / 3, 1 / 3, 0.0])
    assert paired_balanced(left, right, classes, place, weights=weights) == plain


def test_a_sample_gives_what_single_calls_give():
    correct, classes, place, against = clustered(4)
    weights = np.array([0.5, 0.3, 0.2])
    sample = Sample(classes, place, weights)
    assert sample.interval(correct) == balanced_interval(correct, classes, place, weights)
    whole = paired_balanced(correct, against, classes, place, weights, draws=9)
    assert sample.difference(correct - against) == pytest.approx(whole[:3])
    only = np.eye(3)
    for code, found in enumerate(sample.by_class(correct)):
        assert found == pytest.approx(balanced_interval(correct, classes, place, only[code]))
    for code, found in enumerate(sample.differences_by_class(correct - against)):
        assert found == pytest.approx(paired_balanced(correct, against, classes, place, only[code], draws=9)[:3])
    with pytest.raises(ValueError, match="2 scores for"):
        sample.interval(correct[:2])
    with pytest.raises(ValueError, match="of one product"):
        Sample(classes, np.zeros(len(classes)))
