"""What is nearest, against a slow computation in float64."""

import numpy as np

from clipadapt.recognition.nearest import nearest, nearest_several
from clipadapt.recognition.values import Classifier

DIM = 16


def close_pair() -> tuple[np.ndarray, np.ndarray]:
    """Pictures, and three values of which two are closer than float32 can tell."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((3, DIM))
    vectors[1] = vectors[0] + 1e-9 * random.standard_normal(DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return random.standard_normal((500, DIM)).astype(np.float32), vectors


def test_close_calls_are_settled_in_float64():
    pictures, vectors = close_pair()
    slow = (pictures.astype(float) @ vectors.T).argmax(axis=1)
    assert (nearest(pictures, Classifier.cosine(vectors)) == slow).all()
    assert ((pictures @ vectors.T.astype(np.float32)).argmax(axis=1) != slow).any(), "float32 alone is wrong here"


def test_a_head_of_large_weights_is_settled_too():
    pictures, vectors = close_pair()
    bias = np.array([3.0, 3.0, -50.0])
    slow = (pictures.astype(float) @ (100 * vectors).T + bias).argmax(axis=1)
    assert (nearest(pictures, Classifier(100 * vectors, bias)) == slow).all()


def test_several_are_ranked_as_slowly_and_cut_where_each_picture_may_name_no_more(monkeypatch):
    pictures, vectors = close_pair()
    allowed = np.arange(500) % 3 + 1
    slow = np.argsort(-(pictures.astype(float) @ vectors.T), axis=1, kind="stable")
    slow[np.arange(3) >= allowed[:, None]] = -1
    np.testing.assert_array_equal(nearest_several(pictures, Classifier.cosine(vectors), allowed), slow)
    monkeypatch.setattr("clipadapt.recognition.nearest._SCORES", 7)
    np.testing.assert_array_equal(nearest_several(pictures, Classifier.cosine(vectors), allowed), slow)


def test_of_equal_values_the_first_is_taken():
    assert nearest(np.ones((4, DIM), np.float32), Classifier.cosine(np.ones((3, DIM)))).tolist() == [0] * 4


def test_more_may_be_named_than_there_are_values():
    order = nearest_several(np.ones((1, 2), np.float32), Classifier.cosine(np.eye(2)), np.array([4]))
    assert order.tolist() == [[0, 1, -1, -1]]
