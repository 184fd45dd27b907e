"""Linearised intervals: by hand, against a slow loop, and their coverage in clustered data."""

import math

import numpy as np
import pytest
from scipy import stats

from clipadapt.prompt_scoring.paired import Design, Difference, average


def test_by_hand():
    design = Design(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 2, 3]), 5)
    scores = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    estimate = design.balanced(scores)
    assert estimate.mean == pytest.approx((3 / 4 + 1 / 2) / 2)
    first, second = math.sqrt(3 / 2) / 4 / 2, math.sqrt(2 / 1) / 2 / 2
    expected = [(0.25 - 0.75) * first, 0.25 * first, 0.25 * first - 0.5 * second, 0.5 * second, 0.0]
    assert estimate.influence == pytest.approx(np.array(expected))
    assert estimate.freedom == 2
    half = stats.t.ppf(0.6, 2) * math.sqrt(sum(part**2 for part in expected))
    assert estimate.interval(0.2) == pytest.approx((0.625, 0.625 - half, 0.625 + half))
    assert estimate.interval().high == 1.0
    assert design.items.tolist() == [4, 2] and design.value_products.tolist() == [3, 2]


def test_values_have_their_own_intervals_or_none():
    design = Design(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 2, 2]), 3)
    many, one = design.by_value(np.array([1.0, 0.0, 0.0, 1.0, 0.0]), 0.2)
    spread = math.sqrt(2) / 3
    half = stats.t.ppf(0.6, 1) * math.hypot(2 / 3 * spread, 2 / 3 * spread)
    assert many == pytest.approx((1 / 3, 1 / 3 - half, 1 / 3 + half))
    assert one == (0.5, None, None) and one.verdict == "cannot be told"
    assert many.verdict == "helps" and Difference(0.1, -0.1, 0.3).verdict == "cannot be told"
    assert design.balanced(np.ones(5)).interval().verdict == "helps"


def test_a_gain_of_few_products_by_hand():
    """Value 0: products of 2, 1 and 1 items, two better; value 1: two products, one better and one worse."""
    design = Design(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 2, 3]), 5)
    found = design.gain(np.array([1.0, 0.0, 0.0, 1.0, 1.0, -1.0]), 0.9)
    even = 1 / (0.5**2 + 0.25**2 + 0.25**2)
    better, worse = (even * 0.5 + 1) / (even + 2), 1 / (even + 2)
    first = (better - worse, (better + worse - (better - worse) ** 2) / (even + 2))
    second = (0.0, (2 / 4 + 2 / 4) / 4)
    half = stats.norm.ppf(0.95) * math.sqrt(first[1] + second[1]) / 2
    assert found == pytest.approx((0.25, first[0] / 2 - half, first[0] / 2 + half))
    assert Design(np.zeros(3, int), np.arange(3), 3).gain(np.ones(3)).verdict == "cannot be told"
    assert Design(np.zeros(9, int), np.arange(9), 9).gain(np.ones(9)).verdict == "helps"


def test_a_gain_is_not_believed_where_a_value_has_a_handful_of_products():
    """Answers without a difference: this interval misses zero in 5% of worlds or fewer, the usual one in more."""
    missed = {"gain": 0, "balanced": 0}
    codes = np.repeat([0, 1, 2], [60, 4, 5])
    design = Design(codes, np.arange(69), 69)
    for world in range(600):
        random = np.random.default_rng(world)
        answers = random.integers(3, size=(2, 69)) if world % 2 else random.choice(3, p=(0.1, 0.6, 0.3), size=(2, 69))
        differences = (answers[0] == codes).astype(float) - (answers[1] == codes)
        missed["gain"] += design.gain(differences).verdict != "cannot be told"
        missed["balanced"] += design.balanced(differences).interval().verdict != "cannot be told"
    assert missed["gain"] <= 0.05 * 600 < missed["balanced"]


def slow(codes, products, scores):
    values = sorted(set(codes.tolist()))
    influence = dict.fromkeys(products.tolist(), 0.0)
    for value in values:
        items = [at for at in range(len(codes)) if codes[at] == value]
        own = len({products[at] for at in items})
        mean = sum(scores[at] for at in items) / len(items)
        for at in items:
            correction = math.sqrt(own / max(own - 1, 1))
            influence[products[at]] += (scores[at] - mean) * correction / len(items) / len(values)
    return influence


def test_equals_a_slow_loop_and_averages_share_products():
    random = np.random.default_rng(0)
    codes = np.concatenate([np.arange(6), random.integers(6, size=194)])
    products = random.integers(70, size=200)
    designs = [Design(codes, products, 80), Design(codes[::-1].copy(), products, 80)]
    scores = [random.random(200), random.random(200)]
    estimates = [design.balanced(score) for design, score in zip(designs, scores, strict=True)]
    expected = [slow(d.codes, products, s) for d, s in zip(designs, scores, strict=True)]
    for estimate, influence in zip(estimates, expected, strict=True):
        assert {p: estimate.influence[p] for p in influence} == pytest.approx(influence, abs=1e-12)
    both = average(estimates)
    assert both.mean == pytest.approx((estimates[0].mean + estimates[1].mean) / 2)
    total = sum(((expected[0][p] + expected[1][p]) / 2) ** 2 for p in expected[0])
    assert both.influence @ both.influence == pytest.approx(total)


def test_intervals_cover_clustered_truth_as_often_as_they_say():
    random = np.random.default_rng(1)
    codes = np.repeat(np.arange(4), [240, 120, 60, 40])
    products = np.arange(460) // 4
    design = Design(codes, products, 115)
    covered = 0
    for _ in range(400):
        shared = random.random(115)[products]
        scores = np.where(random.random(460) < 0.5, shared, random.random(460)) < np.array([0.8, 0.5, 0.3, 0.2])[codes]
        found = design.balanced(scores.astype(float)).interval()
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.45 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_refuses_values_without_items():
    with pytest.raises(ValueError, match="has to occur"):
        Design(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="needs items"):
        Design(np.array([], int), np.array([], int), 0)
