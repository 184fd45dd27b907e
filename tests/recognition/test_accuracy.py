"""Figures of recognition by hand."""

import numpy as np
import pytest

from clipadapt.recognition.accuracy import accuracies, balanced_accuracy, offered, recall, recalls
from clipadapt.recognition.predict import Predictions

COUNTS = {"Pattern": {"Solid": 900, "Dotted": 12}, "Neck": {"Round": 300, "Boat": 100}}


def predictions(attribute: str, results: dict[str, tuple[int, int]]) -> Predictions:
    """Value -> (right, items); items of all values one after another."""
    truth = np.repeat(np.arange(len(results)), [items for _, items in results.values()])
    hit = np.concatenate([np.arange(items) < right for right, items in results.values()])
    items = np.arange(len(truth))
    cases = np.stack([items, truth], axis=1)
    return Predictions(attribute, tuple(results), items, cases, {"model": hit}, {"model": truth}, {"model": hit})


BOTH = [
    predictions("Pattern", {"Solid": (8, 10), "Dotted": (1, 2)}),
    predictions("Neck", {"Round": (3, 4), "Boat": (0, 1), "Scoop": (1, 1)}),
]


def figures(min_items: int = 1, counts: dict | None = COUNTS) -> dict[str, float]:
    return {name: means.mean("model") for name, means in accuracies(BOTH, counts, min_items).items()}


def test_means_over_values_then_attributes_and_rare_values_pooled():
    assert figures() == {
        "balanced_accuracy": pytest.approx(((0.8 + 0.5) / 2 + (0.75 + 0 + 1) / 3) / 2),
        "top1": pytest.approx((9 / 12 + 4 / 6) / 2),
        "rare_balanced_accuracy": pytest.approx((0.5 + 0 + 1) / 3),  # Scoop was never seen in training, Boat has 100
    }


def test_values_with_too_few_items_do_not_count():
    found = figures(min_items=2)
    assert found["balanced_accuracy"] == pytest.approx(((0.8 + 0.5) / 2 + 0.75) / 2)
    assert found["rare_balanced_accuracy"] == pytest.approx(0.5)
    assert "rare_balanced_accuracy" not in figures(min_items=3)
    assert figures(min_items=11) == {}


def test_without_training_counts_nothing_is_rare():
    assert set(figures(counts=None)) == {"balanced_accuracy", "top1"}
    assert accuracies([], COUNTS) == {}


def test_recall_of_one_value_keeps_the_others_as_context():
    found = recall(BOTH[0], [1])
    assert found.mean("model") == 0.5
    assert len(found.classes) == 12


def test_recalls_of_all_values_are_those_of_each():
    for place, found in enumerate(recalls(BOTH[1])):
        alone = recall(BOTH[1], [place])
        np.testing.assert_array_equal(found.weights, alone.weights)
        assert found.mean("model") == alone.mean("model")
    first, second, _ = recalls(BOTH[1])
    assert first.scores is second.scores, "thousands of values would each hold a copy"


def test_what_is_offered_is_frequent_first():
    counts = {"b": 3, "a": 3, "c": 9, "rare": 1}
    assert offered(counts, 2) == ["c", "a", "b"]
    assert offered(counts) == ["c", "a", "b", "rare"]


def test_balanced_accuracy_of_plain_arrays():
    assert balanced_accuracy(np.array([True, False, True, True]), np.array([0, 0, 2, 2])) == pytest.approx(0.75)
    assert balanced_accuracy(np.zeros(0, bool), np.zeros(0, np.int64)) == 0.0
