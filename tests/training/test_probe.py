"""The linear probe: what it finds, what chooses it, and that its weights mean what sklearn's meant."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from clipadapt.training import probe
from clipadapt.training.probe import fit_probe


def clouds(seed: int, per: tuple[int, ...], dim: int = 8, noise: float = 0.25) -> tuple[np.ndarray, list[str | None]]:
    """Unit vectors around one corner per value."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate(
        [np.eye(dim)[row] + 1 + noise * rng.normal(size=(count, dim)) for row, count in enumerate(per)]
    )
    labels: list[str | None] = [f"v{row}" for row, count in enumerate(per) for _ in range(count)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("values", [2, 3])
def test_folded_weights_decide_as_the_fit_on_standardised_features(values: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "STRENGTHS", (0.03,))
    names = [f"v{row}" for row in range(values)]
    vectors, labels = clouds(0, (60, 20, 9)[:values])
    none: list[str | None] = [None] * len(labels)
    head = fit_probe({"A": names}, (vectors, {"A": labels}), (vectors, {"A": none}), image_space="s")
    own = head.attributes["A"]
    assert head.fitted["attributes"]["A"] == {
        "C": 0.03,
        "balanced": True,
        "tune_balanced_accuracy": None,
        "tune_items": 0,
    }
    features = (vectors - vectors.mean(0)) / vectors.std(0)
    slow = LogisticRegression(C=0.03, class_weight="balanced", max_iter=5000, tol=1e-8).fit(features, labels)
    scores = vectors @ own.weight.T + own.bias
    chances = np.exp(scores - scores.max(1, keepdims=True))
    assert np.allclose(chances / chances.sum(1, keepdims=True), slow.predict_proba(features), atol=5e-3)


def test_tune_chooses_regularisation_and_balance():
    vectors, labels = clouds(1, (300, 300, 6), noise=0.6)
    held, truth = clouds(2, (40, 40, 40), noise=0.6)
    names = ["v0", "v1", "v2"]
    known = probe._known(names, held, truth)
    found = list(probe._candidates(tuple(names), probe._known(names, vectors, labels), known))
    head = fit_probe({"A": names}, (vectors, {"A": labels}), (held, {"A": truth}), image_space="s")
    record = head.fitted["attributes"]["A"]
    assert len(found) == 2 * len(probe.STRENGTHS)
    assert record["tune_balanced_accuracy"] == pytest.approx(max(one.score for one in found), abs=1e-4)
    assert probe._score(head.attributes["A"], known) == pytest.approx(record["tune_balanced_accuracy"], abs=1e-4)
    assert record["balanced"], "equal weights cannot find six items among six hundred"
    ties = [one.strength for one in found if one.score == max(one.score for one in found)]
    assert record["C"] == min(ties)


def test_unknown_labels_are_left_out():
    vectors, labels = clouds(3, (30, 30))
    masked = [None if row % 2 else label for row, label in enumerate(labels)]
    half = fit_probe({"A": ["v0", "v1"]}, (vectors[::2], {"A": labels[::2]}), (vectors, {"A": labels}), image_space="s")
    whole = fit_probe({"A": ["v0", "v1"]}, (vectors, {"A": masked}), (vectors, {"A": labels}), image_space="s")
    assert np.array_equal(half.attributes["A"].weight, whole.attributes["A"].weight)
