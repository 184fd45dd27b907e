"""Ranking metrics by hand, against scikit-learn, and under ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.ranking import (
    average_precision,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    ranked,
    recall_at_k,
    reciprocal_rank,
)
from sklearn.metrics import average_precision_score, ndcg_score

from clipadapt.errors import UsageError

FOUND = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=bool)
TOTAL = np.array([3, 1, 2])  # a relevant item of the first query and both of the last were not ranked


def test_by_hand():
    assert precision_at_k(FOUND, 3) == pytest.approx([2 / 3, 0, 0])
    assert precision_at_k(FOUND, 10) == pytest.approx([0.2, 0.1, 0])  # five places only: the others hold nothing
    assert recall_at_k(FOUND, TOTAL, 4) == pytest.approx([2 / 3, 1, 0])
    assert r_precision(FOUND, TOTAL) == pytest.approx([2 / 3, 0, 0])
    assert average_precision(FOUND, TOTAL) == pytest.approx([(1 + 2 / 3) / 3, 1 / 4, 0])
    assert reciprocal_rank(FOUND) == pytest.approx([1, 1 / 4, 0])
    gains, ideal = 1 + 1 / 2, 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg_at_k(FOUND, TOTAL, 3) == pytest.approx([gains / ideal, 0, 0])
    assert ndcg_at_k(FOUND, TOTAL, 9)[1] == pytest.approx(1 / np.log2(5))


@settings(max_examples=50, deadline=None)
@given(items=st.integers(2, 40), seed=st.integers(0, 10_000), k=st.integers(1, 50))
def test_equal_scikit_learn_without_ties(items, seed, k):
    generator = np.random.default_rng(seed)
    scores, relevant = generator.permutation(items)[None].astype(float), generator.random((1, items)) < 0.3
    relevant[0, 0] = True
    found, total = ranked(scores, relevant), relevant.sum(axis=1)
    assert average_precision(found, total)[0] == pytest.approx(average_precision_score(relevant[0], scores[0]))
    expected = ndcg_score(relevant.astype(int), scores, k=k)
    assert ndcg_at_k(found, total, k)[0] == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(items=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_ties_are_settled_as_badly_as_they_can_be(items, seed):
    generator = np.random.default_rng(seed)
    scores, relevant = generator.integers(0, 3, (1, items)).astype(float), generator.random((1, items)) < 0.5
    relevant[0, 0] = True
    total = relevant.sum(axis=1)
    ours = average_precision(ranked(scores, relevant), total)[0]
    for _ in range(20):  # no order that the scores allow does worse
        broken = scores + generator.random(scores.shape) * 0.5
        assert ours <= average_precision(ranked(broken, relevant), total)[0] + 1e-12


def test_equal_scores_everywhere_earn_nothing_by_storage_order():
    relevant = np.array([[True, True, False, False]])
    assert ranked(np.zeros((1, 4)), relevant).tolist() == [[False, False, True, True]]


def test_order_of_items_does_not_matter():
    generator = np.random.default_rng(0)
    scores, relevant = generator.integers(0, 4, (3, 20)).astype(float), generator.random((3, 20)) < 0.4
    moved = generator.permutation(20)
    assert np.array_equal(ranked(scores, relevant), ranked(scores[:, moved], relevant[:, moved]))


def test_faults_are_named():
    with pytest.raises(ValueError, match="NaN"):
        ranked(np.array([[0.0, np.nan]]), np.array([[True, False]]))
    with pytest.raises(UsageError, match="query 1 has no relevant item"):
        average_precision(FOUND[:2], np.array([3, 0]))
    with pytest.raises(ValueError, match="query 0 found more"):
        r_precision(FOUND, np.array([1, 1, 1]))
    with pytest.raises(UsageError, match="k is 0"):
        precision_at_k(FOUND, 0)


def test_empty_ranking():
    nothing = np.zeros((2, 0), dtype=bool)
    total = np.array([1, 2])
    for values in (
        precision_at_k(nothing, 5),
        average_precision(nothing, total),
        ndcg_at_k(nothing, total, 5),
        reciprocal_rank(nothing),
    ):
        assert values.tolist() == [0, 0]
