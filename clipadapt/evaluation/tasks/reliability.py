"""Whether stated probabilities come true: confidence against accuracy of an exclusive attribute, by system.

    for one in reliabilities(context, predictions, classifiers, tune): one.system, one.error

Temperatures are fitted on tune where it is given, else each model's own scale stands. Scores are made for some items at
a time, so that thousands of values fit in memory. Nothing here draws.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.evaluation.details import Reliability
from clipadapt.evaluation.inputs import EvalInputs
from clipadapt.evaluation.tasks.context import EvalContext
from clipadapt.recognition.calibration import Scale, fit_softmax, reliability, softmax
from clipadapt.recognition.predict import Predictions
from clipadapt.recognition.values import Classifier

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
) -> Iterator[Reliability]:
    """One for each system, the one compared with first."""
    for system in reversed(list(context.encoders)):
        classifier = classifiers[system]
        fitted = _fitted(context, system, predictions, classifier, tune)
        confidence = _confidence(context.pictures[system][predictions.items], classifier, fitted.scale)
        found = reliability(confidence, predictions.right[system])
        yield Reliability(
            predictions.attribute, system, 1 / fitted.scale.slope, fitted.split,
            found.error, found.confidence, found.accuracy, found.items,
        )  # fmt: skip


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
            return _Fitted(fit_softmax(classifier.scores(tune.pictures[system][rows]), truth), "tune")
    by_head = system in context.heads and attribute in context.heads[system].attributes
    return _Fitted(Scale(1.0 if by_head else context.encoders[system].scale), None)


def _confidence(pictures: np.ndarray, classifier: Classifier, scale: Scale) -> Float[np.ndarray, " n"]:
    """The largest probability of each item."""
    step = max(1, _SCORES // len(classifier.bias))
    starts = range(0, len(pictures), step)
    found = [softmax(classifier.scores(pictures[start : start + step]), scale).max(axis=1) for start in starts]
    return np.concatenate(found) if found else np.zeros(0)
