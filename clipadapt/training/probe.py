"""A linear probe: logistic regression on frozen picture vectors, attribute by attribute, chosen on tune.

It needs minutes, no text and no picture pass beyond encoding, which makes it the baseline to respect, the place where a
linear head starts (Kumar et al., "Fine-tuning can distort pretrained features", ICLR 2022) and what stands for a base
that has no texts. Regularisation, and whether values weigh alike, are chosen by balanced accuracy on tune, the stronger
regularisation winning ties; where tune has no label of an attribute the defaults stand, and the record says so.
Features are standardised for the fit and the standardisation is folded into the weights. Nothing here knows of towers.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from clipadapt.recognition.accuracy import balanced_accuracy
from clipadapt.recognition.nearest import nearest
from clipadapt.recognition.values import Classifier
from clipadapt.towers.classifier import Linear, LinearHead

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse regularisation C, the strongest regularisation first."""
DEFAULT = (0.03, True)
"""C and balancing where tune cannot choose: the middle of the grid, and what balanced accuracy asks."""
ITERATIONS = 300
"""Of L-BFGS; each C starts where the one before ended, and a fit that is not quite done is a candidate like others."""


class Known(NamedTuple):
    """The labelled items of one attribute."""

    vectors: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    """Rows of the values."""


class _Candidate(NamedTuple):
    score: float
    strength: float
    balanced: bool
    linear: Linear


def fit_probe(
    values: Mapping[str, Sequence[str]],
    train: tuple[Float[np.ndarray, "n d"], Mapping[str, Sequence[str | None]]],
    tune: tuple[Float[np.ndarray, "t d"], Mapping[str, Sequence[str | None]]],
    *,
    image_space: str,
) -> LinearHead:
    """A head over unit vectors, one classifier per attribute.

    Args:
        values: attribute -> its values, two or more, each with training items.
        train: unit vectors, and attribute -> label of each item, None where unknown.
        tune: the same of the split that choices are made on.
        image_space: of the vectors.
    """
    found, record = {}, {}
    for attribute, own in values.items():
        known = _known(own, train[0], train[1][attribute])
        held = _known(own, tune[0], tune[1][attribute])
        best = _best(list(_candidates(tuple(own), known, held)), chosen=bool(len(held.labels)))
        found[attribute] = best.linear
        record[attribute] = {
            "C": best.strength,
            "balanced": best.balanced,
            "tune_balanced_accuracy": round(best.score, 4) if len(held.labels) else None,
            "tune_items": len(held.labels),
        }
    kept: dict[str, Any] = {"by": "logistic regression on frozen vectors", "chosen_on": "tune", "attributes": record}
    return LinearHead(found, image_space, kept)


def _known(values: Sequence[str], vectors: np.ndarray, labels: Sequence[str | None]) -> Known:
    place = {value: row for row, value in enumerate(values)}
    rows = [row for row, label in enumerate(labels) if label in place]
    return Known(vectors[rows], np.array([place[str(labels[row])] for row in rows], np.int64))


def _candidates(values: tuple[str, ...], known: Known, held: Known) -> Iterator[_Candidate]:
    """Every pair of the grid, fitted."""
    vectors = known.vectors.astype(np.float64)
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    features = (vectors - mean) / spread
    for balanced in (True, False):
        model = LogisticRegression(
            max_iter=ITERATIONS, class_weight="balanced" if balanced else None, warm_start=True, tol=1e-4
        )
        for strength in STRENGTHS:
            model.set_params(C=strength)
            weight, bias = fitted(model, features, known.labels)
            weight = weight / spread
            linear = Linear(values, weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))
            yield _Candidate(_score(linear, held), strength, balanced, linear)


def fitted(
    model: LogisticRegression, features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "v d"], Float[np.ndarray, " v"]]:
    """Weight and bias of each value, two or more, by a regression that need not be quite done."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Few labels a value are no sign of a regression problem, for which sklearn takes them.
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        model.fit(features, labels)
    weight, bias = model.coef_, np.atleast_1d(model.intercept_)
    if len(weight) == 1:  # one row, of the second value against the first
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _score(linear: Linear, held: Known) -> float:
    """Balanced accuracy; 0 where there are no labels."""
    chosen = nearest(held.vectors, Classifier(linear.weight, linear.bias))
    return balanced_accuracy(chosen == held.labels, held.labels)


def _best(candidates: Sequence[_Candidate], *, chosen: bool) -> _Candidate:
    if not chosen:
        return next(one for one in candidates if (one.strength, one.balanced) == DEFAULT)
    return max(candidates, key=lambda one: (one.score, -one.strength, one.balanced))
