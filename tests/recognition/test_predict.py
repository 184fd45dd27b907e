import numpy as np

from clipadapt.recognition.predict import recognise

TEXTS = {"model": np.eye(3, dtype=np.float32)}


def test_by_hand():
    pictures = {"model": np.array([[1, 0, 0], [0, 1, 0.2], [0, 0.3, 1], [1, 0, 0], [0.9, 0.1, 0]], np.float32)}
    sets = [frozenset({"a"}), frozenset({"b"}), frozenset({"b"}), frozenset(), frozenset({"other"})]
    told = recognise("Letter", ["a", "b", "c"], sets, pictures, TEXTS)
    assert told.items.tolist() == [0, 1, 2]  # unknown, and a value that is not on offer, are left out
    assert told.chosen["model"].tolist() == [0, 1, 2]
    assert told.hit["model"].tolist() == [True, True, False]
    assert told.right["model"].tolist() == [True, True, False]
    assert told.confusion("model").tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_an_item_with_two_values_may_name_two():
    pictures = {"model": np.array([[1, 0.8, 0], [0.9, 0, 1]], np.float32)}
    sets = [frozenset({"a", "b"}), frozenset({"a"})]
    told = recognise("Letter", ["a", "b", "c"], sets, pictures, TEXTS)
    assert told.cases.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert told.hit["model"].tolist() == [True, True, False]  # the second may name one, and names c
    assert told.right["model"].tolist() == [True, False]


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    pictures = {"model": rng.normal(size=(50, 3)).astype(np.float32)}
    sets = [frozenset(rng.choice(list("abc"), rng.integers(0, 3))) for _ in range(50)]
    whole = recognise("Letter", list("abc"), sets, pictures, TEXTS)
    monkeypatch.setattr("clipadapt.recognition.predict._BLOCK", 7)
    parts = recognise("Letter", list("abc"), sets, pictures, TEXTS)
    np.testing.assert_array_equal(whole.hit["model"], parts.hit["model"])
    np.testing.assert_array_equal(whole.chosen["model"], parts.chosen["model"])


def test_nobody_has_a_value():
    told = recognise(
        "Letter", ["a", "b"], [frozenset()], {"model": np.ones((1, 3), np.float32)}, {"model": np.eye(2, 3)}
    )
    assert len(told.items) == 0
    assert told.confusion("model").sum() == 0
