import numpy as np

from clipadapt.recognition.predict import recognise
from clipadapt.recognition.values import Classifier

TEXTS = {"model": Classifier.cosine(np.eye(3))}


def test_by_hand():
    pictures = {"model": np.array([[1, 0, 0], [0, 1, 0.2], [0, 0.3, 1], [1, 0, 0], [0.9, 0.1, 0]], np.float32)}
    sets = [frozenset({"a"}), frozenset({"b"}), frozenset({"b"}), frozenset(), frozenset({"other"})]
    predictions = recognise("Letter", ["a", "b", "c"], sets, pictures, TEXTS)
    assert predictions.items.tolist() == [0, 1, 2]  # unknown, and a value that is not on offer, are left out
    assert predictions.chosen["model"].tolist() == [0, 1, 2]
    assert predictions.hit["model"].tolist() == [True, True, False]
    assert predictions.right["model"].tolist() == [True, True, False]
    assert predictions.rows.tolist() == [0, 1, 2]
    assert predictions.counts.tolist() == [1, 2, 0]


def test_an_item_with_two_values_may_name_two():
    pictures = {"model": np.array([[1, 0.8, 0], [0.9, 0, 1]], np.float32)}
    sets = [frozenset({"a", "b"}), frozenset({"a"})]
    predictions = recognise("Letter", ["a", "b", "c"], sets, pictures, TEXTS)
    assert predictions.cases.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert predictions.hit["model"].tolist() == [True, True, False]  # the second may name one, and names c
    assert predictions.right["model"].tolist() == [True, False]


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    pictures = {"model": rng.normal(size=(50, 3)).astype(np.float32)}
    sets = [frozenset(rng.choice(list("abc"), rng.integers(0, 3))) for _ in range(50)]
    whole = recognise("Letter", list("abc"), sets, pictures, TEXTS)
    monkeypatch.setattr("clipadapt.recognition.nearest._SCORES", 21)
    parts = recognise("Letter", list("abc"), sets, pictures, TEXTS)
    np.testing.assert_array_equal(whole.hit["model"], parts.hit["model"])
    np.testing.assert_array_equal(whole.chosen["model"], parts.chosen["model"])


def test_nobody_has_a_value():
    predictions = recognise(
        "Letter",
        ["a", "b"],
        [frozenset()],
        {"model": np.ones((1, 3), np.float32)},
        {"model": Classifier.cosine(np.eye(2, 3))},
    )
    assert len(predictions.items) == 0
    assert predictions.counts.tolist() == [0, 0]
