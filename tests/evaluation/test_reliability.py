import numpy as np
import pytest

from clipadapt.evaluation.tasks import reliability
from clipadapt.recognition.calibration import Scale, log_shares
from clipadapt.recognition.values import Classifier


def test_the_value_of_an_item_is_the_most_probable_and_not_the_nearest(monkeypatch):
    classifier = Classifier.cosine(np.eye(2))
    pictures = np.array([[0.7, 0.71], [0.1, 0.9], [0.9, 0.1]], np.float32)
    scale = Scale(10.0, prior=log_shares(np.array([99, 0])))
    best, confidence = reliability._most_probable(pictures, classifier, scale)
    assert best.tolist() == [0, 1, 0]
    assert confidence[0] == pytest.approx(1 / (1 + np.exp(0.1) * 0.5 / 99.5), rel=1e-5)
    monkeypatch.setattr(reliability, "_SCORES", 2)  # one item at a time
    again, likely = reliability._most_probable(pictures, classifier, scale)
    np.testing.assert_array_equal(again, best)
    np.testing.assert_allclose(likely, confidence)
    plain, _ = reliability._most_probable(pictures, classifier, Scale(10.0))
    assert plain.tolist() == [1, 1, 0]
