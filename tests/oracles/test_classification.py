"""Classification metrics by hand and against scikit-learn, plain and weighted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.classification import balanced_accuracy, confusion, macro_f1, recalls, top1
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

TRUTH, CHOSEN = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])


def test_by_hand():
    cells = confusion(TRUTH, CHOSEN, 4)
    assert cells[:3, :3].tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert top1(cells) == pytest.approx(3 / 6)
    assert recalls(cells)[:3] == pytest.approx([2 / 3, 1 / 2, 0])
    assert np.isnan(recalls(cells)[3])  # nobody has the fourth value: it has no recall and is no zero either
    assert balanced_accuracy(cells) == pytest.approx((2 / 3 + 1 / 2) / 3)
    assert balanced_accuracy(cells, np.array([False, True, True, True])) == pytest.approx(1 / 4)
    assert macro_f1(cells) == pytest.approx((2 * 2 / 7 + 2 * 1 / 4 + 0) / 3)


@settings(max_examples=60, deadline=None)
@given(items=st.integers(1, 40), values=st.integers(1, 6), seed=st.integers(0, 10_000))
def test_equal_scikit_learn(items, values, seed):
    generator = np.random.default_rng(seed)
    truth, chosen = generator.integers(0, values, items), generator.integers(0, values, items)
    weights = generator.random((3, items))
    drawn = confusion(truth, chosen, values, weights)
    plain = confusion(truth, chosen, values)
    if values > 1:  # scikit-learn warns about a single label
        assert np.array_equal(plain, confusion_matrix(truth, chosen, labels=range(values)))
    for cells, weight in ((plain, np.ones(items)), *zip(drawn, weights, strict=True)):
        assert top1(cells) == pytest.approx(accuracy_score(truth, chosen, sample_weight=weight))
        seen = np.unique(truth)
        recall = [weight[(truth == v) & (chosen == v)].sum() / weight[truth == v].sum() for v in seen]
        assert balanced_accuracy(cells) == pytest.approx(np.mean(recall))
        expected = f1_score(truth, chosen, average="macro", sample_weight=weight)
        assert macro_f1(cells) == pytest.approx(expected)
    if len(np.unique(truth)) > 1 and set(chosen) <= set(truth):
        assert balanced_accuracy(plain) == pytest.approx(balanced_accuracy_score(truth, chosen))
    assert balanced_accuracy(drawn) == pytest.approx([float(balanced_accuracy(cells)) for cells in drawn])
    assert macro_f1(drawn) == pytest.approx([float(macro_f1(cells)) for cells in drawn])


def test_faults_are_named():
    with pytest.raises(ValueError, match="true codes reach from -1 to 1, with 2 values"):
        confusion(np.array([-1, 1]), np.array([0, 0]), 2)
    with pytest.raises(ValueError, match="chosen codes"):
        confusion(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="none of the values"):
        balanced_accuracy(confusion(TRUTH, CHOSEN, 4), np.array([False, False, False, True]))
