import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from clipadapt.recognition.calibration import (
    Scale,
    fit_sigmoid,
    fit_softmax,
    log_odds,
    log_shares,
    reliability,
    sigmoid,
    softmax,
)


def test_a_known_temperature_is_found_again():
    rng = np.random.default_rng(0)
    similarity = rng.normal(0, 0.1, (20_000, 4))
    chances = scipy_softmax(25 * similarity, axis=1)
    truth = (chances.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert fit_softmax(similarity, truth).slope == pytest.approx(25, rel=0.05)


def test_a_known_sigmoid_is_found_again():
    rng = np.random.default_rng(0)
    similarity = rng.normal(0, 0.2, (5_000, 4))
    truth = rng.random((5_000, 4)) < expit(12 * similarity - 1)
    found = fit_sigmoid(similarity, truth)
    assert found.slope == pytest.approx(12, rel=0.05)
    assert found.offset == pytest.approx(-1, abs=0.1)
    assert sigmoid(np.array([[1 / 12]]), Scale(12, -1))[0, 0] == pytest.approx(0.5)


def test_with_the_shares_of_values_probabilities_come_true():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 30_000, p=[0.8, 0.15, 0.05])
    similarity = rng.normal(0, 0.1, (len(truth), 3))  # of one width, so that logits are 10 x similarity + log share
    similarity[np.arange(len(truth)), truth] += 0.1
    prior = log_shares(np.bincount(truth))
    assert np.exp(prior).sum() == pytest.approx(1)
    plain, weighed = fit_softmax(similarity, truth), fit_softmax(similarity, truth, prior)
    assert weighed.slope == pytest.approx(10, rel=0.05)
    errors, accuracies = [], []
    for scale in (plain, weighed):
        chances = softmax(similarity, scale)
        right = chances.argmax(axis=1) == truth
        errors.append(np.abs(chances.mean(axis=0) - np.bincount(truth) / len(truth)).max())
        accuracies.append(right.mean())
    assert errors[1] < 0.005 < 0.1 < errors[0]
    assert accuracies[1] > accuracies[0] + 0.15


def test_the_sigmoid_with_a_prior_of_each_value():
    rng = np.random.default_rng(0)
    similarity, offsets = rng.normal(0, 0.2, (20_000, 2)), np.array([0.0, -3.0])
    truth = rng.random(similarity.shape) < expit(12 * similarity + offsets)
    prior = log_odds(truth.sum(axis=0), len(truth))
    assert prior[1] == pytest.approx(np.log(truth[:, 1].mean() / (1 - truth[:, 1].mean())), abs=0.01)
    found = fit_sigmoid(similarity, truth, prior)
    without = fit_sigmoid(similarity, truth)
    wrong = [
        np.abs(sigmoid(similarity, scale).mean(axis=0) / truth.mean(axis=0) - 1).max() for scale in (found, without)
    ]
    assert wrong[0] < wrong[1] / 2
    only = found.of(np.array([1]))
    np.testing.assert_allclose(sigmoid(similarity[:, 1:], only)[:, 0], sigmoid(similarity, found)[:, 1])
    assert without.of(np.array([1])) == without


def test_probabilities_keep_the_order_and_sum_to_one():
    similarity = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    chances = softmax(similarity, Scale(40))
    assert chances.sum(axis=1) == pytest.approx(np.ones(5))
    np.testing.assert_array_equal(chances.argmax(axis=1), similarity.argmax(axis=1))


def test_reliability_by_hand():
    found = reliability(np.array([0.95, 0.95, 0.55, 1.0]), np.array([True, False, True, True]))
    assert found.items[9] == 3
    assert found.items[5] == 1
    assert found.confidence[9] == pytest.approx(2.9 / 3)
    assert found.error == pytest.approx((3 * (2.9 / 3 - 2 / 3) + 1 * 0.45) / 4)


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="no items"):
        fit_softmax(np.zeros((0, 2)), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="no items"):
        fit_sigmoid(np.zeros((0, 2)), np.zeros((0, 2), bool))
