"""Whether stated probabilities come true: confidence against accuracy of an exclusive attribute, by system.

    measured = reliabilities(context, predictions, classifiers, tune)     # diagrams, and a cell with the error

The value of an item is the most probable one. Temperatures are fitted on tune where it is given, with the shares that
values have there, as `tag` does; else each model's own scale stands, and all values are taken to be as frequent. Scores
are made for some items at a time, so that thousands of values fit in memory. Nothing here draws.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from clipadapt.evaluation.details import Reliability
from clipadapt.evaluation.inputs import EvalInputs
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.recognition.calibration import BINS, Scale, bin_of, fit_softmax, log_shares, reliability, softmax
from clipadapt.recognition.predict import Predictions
from clipadapt.recognition.values import Classifier
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import totals_evidence

_SCORES = 1 << 22
"""Probabilities held at once: 32 MB."""


class _Fitted(NamedTuple):
    scale: Scale
    split: str | None


def reliabilities(
    context: EvalContext,
    predictions: Predictions,
    classifiers: Mapping[str, Classifier],
    tune: EvalInputs | None,
) -> Measured:
    """A diagram for each system, the one compared with first, and the calibration error as a figure."""
    diagrams, totals = {}, {}
    for system in reversed(list(context.encoders)):
        classifier = classifiers[system]
        fitted = _fitted(context, system, predictions, classifier, tune)
        best, confidence = _most_probable(context.pictures[system][predictions.items], classifier, fitted.scale)
        right = np.bincount(item := predictions.cases[:, 0], predictions.cases[:, 1] == best[item]) > 0
        found = reliability(confidence, right)
        diagrams[predictions.attribute, system] = Reliability(
            predictions.attribute, system, 1 / fitted.scale.slope, fitted.split,
            found.error, found.confidence, found.accuracy, found.items,
        )  # fmt: skip
        totals[system] = _totals(confidence, right)
    ordered = {system: totals[system] for system in context.encoders}
    evidence = totals_evidence(ordered, predictions.items, context.sampler, _error)
    size = (len(predictions.items), context.sampler.products(predictions.items))
    about = ("recognition", predictions.attribute, None, "all", "calibration_error", None)
    wording = context.wording_of(predictions.attribute)
    return Measured([Cell(*about, *size, evidence, wording)], reliability=diagrams)


def _totals(confidence: np.ndarray, right: np.ndarray) -> csr_matrix:
    """Each item's part in the number, the confidence and the right ones of its bin."""
    items, place = np.arange(len(confidence)), bin_of(confidence)
    parts = np.concatenate([np.ones(len(items)), confidence, right.astype(np.float64)])
    columns = np.concatenate([place, BINS + place, 2 * BINS + place])
    return csr_matrix((parts, (np.tile(items, 3), columns)), shape=(len(items), 3 * BINS))


def _error(sums: Float[np.ndarray, "columns sums"]) -> Float[np.ndarray, " columns"]:
    items, confidence, right = np.split(sums, 3, axis=1)
    return np.abs(confidence - right).sum(axis=1) / np.maximum(items.sum(axis=1), 1e-12)


def _fitted(
    context: EvalContext,
    system: str,
    predictions: Predictions,
    classifier: Classifier,
    tune: EvalInputs | None,
) -> _Fitted:
    attribute = predictions.attribute
    if tune is not None:
        place = {value: number for number, value in enumerate(predictions.values)}
        sets = tune.catalogue.value_sets(attribute)
        known = [(row, place[value]) for row, had in enumerate(sets) for value in had if value in place]
        if known:
            rows, truth = np.array(known, np.int64).T
            prior = log_shares(np.bincount(truth, minlength=len(predictions.values)))
            return _Fitted(fit_softmax(classifier.scores(tune.pictures[system][rows]), truth, prior), "tune")
    by_head = system in context.heads and attribute in context.heads[system].attributes
    return _Fitted(Scale(1.0 if by_head else context.encoders[system].scale), None)


def _most_probable(
    pictures: np.ndarray, classifier: Classifier, scale: Scale
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Of each item the value and its probability."""
    best, confidence = np.empty(len(pictures), np.int64), np.empty(len(pictures))
    step = max(1, _SCORES // len(classifier.bias))
    for start in range(0, len(pictures), step):
        chances = softmax(classifier.scores(pictures[start : start + step]), scale)
        best[start : start + step] = own = chances.argmax(axis=1)
        confidence[start : start + step] = chances[np.arange(len(own)), own]
    return best, confidence
