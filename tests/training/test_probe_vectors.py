"""Value vectors from few labels: a linear probe's scores as cosines of unit vectors, and where they are taken."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.training import probe_vectors as module
from clipadapt.training.labels import labels_of
from clipadapt.training.probe import DEFAULT
from clipadapt.training.probe_vectors import FEW, as_unit_vectors, few, probe_vectors
from clipadapt.training.value_vectors import learn

DIM, USED, VALUES = 64, 48, 5


def pictures_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """Unit vectors with a large common part, nearly all of it in the first 48 of 64 dimensions; what tells a value is a
    sixth of their length, and each picture's own part more than that.
    """
    rng = np.random.default_rng(7)
    own, common = rng.normal(size=(VALUES, USED)), 3.0 * rng.normal(size=USED)
    rng = np.random.default_rng(seed)
    vectors = 0.02 * rng.normal(size=(len(labels), DIM))
    vectors[:, :USED] += common + 0.5 * own[labels] + 1.2 * rng.normal(size=(len(labels), USED))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), values=st.integers(2, 9), count=st.integers(100, 300))
def test_cosines_are_the_scores_times_one_factor(seed: int, values: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    pictures = pictures_of(rng.integers(VALUES, size=count), seed)
    weight, bias = np.zeros((values, DIM)), rng.normal(size=values)
    weight[:, :USED] = 20 * rng.normal(size=(values, USED))  # a probe has no weight where pictures have nothing
    bias -= weight @ pictures.mean(axis=0)
    vectors = as_unit_vectors(weight, bias, pictures, rng.normal(size=DIM))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-9)
    scores, cosines = (pictures @ weight.T + bias).ravel(), (pictures @ vectors.T).ravel()
    factor = (scores @ cosines) / (scores @ scores)
    assert factor > 0
    assert ((cosines - factor * scores) ** 2).mean() < 0.01 * (cosines**2).mean()


@pytest.mark.parametrize("count", [1, 4])
def test_values_are_told_apart_as_by_the_probe_itself(count: int) -> None:
    """Most pictures have no label; other pictures are judged."""
    labels = np.repeat(np.arange(VALUES), 40)
    right = []
    for seed in range(5):
        pictures, known = pictures_of(labels, seed), np.where(np.arange(len(labels)) % 40 < count, labels, -1)
        vectors = probe_vectors(pictures, known, np.random.default_rng(seed).normal(size=DIM))
        some, own = pictures[known >= 0], known[known >= 0]
        mean = some.mean(axis=0)
        spread = np.sqrt(((some - mean) ** 2).mean())
        probe = LogisticRegression(C=DEFAULT[0], class_weight="balanced").fit((some - mean) / spread, own)
        truth = np.repeat(np.arange(VALUES), 100)
        others = pictures_of(truth, 100 + seed)
        answers = (others @ vectors.T).argmax(axis=1), probe.predict((others - mean) / spread)
        right.append([(one == truth).mean() for one in answers])
    ours, the_probe = np.mean(right, axis=0)
    assert the_probe > 1.5 / VALUES
    assert ours > the_probe - 0.03


def test_two_values_one_item_each_and_pictures_all_alike() -> None:
    pictures = np.eye(4, dtype=np.float32)[[0, 1]]
    vectors = probe_vectors(pictures, np.array([0, 1]), np.ones(4))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0)
    assert (pictures @ vectors.T).argmax(axis=1).tolist() == [0, 1]
    alike = probe_vectors(pictures[[0, 0, 0]], np.array([0, 1, -1]), np.ones(4))
    assert np.isfinite(alike).all()


def test_free_vectors_where_labels_are_many_or_first_dimensions_count(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few(FEW * 3, 3) and not few(FEW * 3 + 1, 3)
    catalogue = load_splits(configured().data, 0).train
    labels = labels_of(catalogue, {})
    assert len(labels) > 1
    pictures = torch.nn.functional.normalize(
        torch.randn(len(catalogue), 16, generator=torch.Generator().manual_seed(1))
    )
    taken = []

    def counted(shown: np.ndarray, target: np.ndarray, away: np.ndarray) -> np.ndarray:
        taken.append((shown.shape, (target >= 0).sum()))
        return probe_vectors(shown, target, away)

    monkeypatch.setattr("clipadapt.training.value_vectors.probe_vectors", counted)
    found = learn(labels, pictures, scale=50.0, tau=1.0)
    assert taken == [(pictures.shape, int(one.known.sum())) for one in labels]
    for one in labels:
        torch.testing.assert_close(found[one.attribute].norm(dim=1), torch.ones(len(one.values)))
    taken.clear()
    learn(labels, pictures, scale=50.0, tau=1.0, dims=(4,))
    monkeypatch.setattr(module, "FEW", 0)
    learn(labels, pictures, scale=50.0, tau=1.0)
    assert not taken
