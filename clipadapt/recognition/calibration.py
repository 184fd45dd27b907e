"""Probabilities of values: cosine similarities divided by a temperature, and whether they mean what they say.

    temperature = fit_temperature(similarity, truth)          # on tune
    probability = softmax(similarity / temperature)           # exclusive; sigmoid for multi, with an offset
    error, bins = reliability(confidence, right)

One temperature per attribute keeps the order of values, so accuracy is as it was. Nothing here knows of splits: what
was fitted on which is for the caller to keep apart. scipy is imported where something is computed: reading an index
brings this module along and computes nothing, and scipy.optimize took two thirds of its time.
Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 10
"""Of equal width, in which confidence is held against accuracy."""
_SCORES = 1 << 22
"""Logits held at once: 32 MB."""


class Reliability(NamedTuple):
    """Confidence against accuracy in bins of equal width."""

    error: float
    """Expected calibration error: the mean distance of the two, weighted by items."""
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    items: Int[np.ndarray, " bins"]


class Scale(NamedTuple):
    """Logits are slope x similarity + offset."""

    slope: float
    """One over the temperature."""
    offset: float = 0.0


def softmax(similarity: Float[np.ndarray, "n v"], scale: Scale) -> Float[np.ndarray, "n v"]:
    """Probabilities over the values of an exclusive attribute; they sum to 1."""
    from scipy.special import softmax as over_values

    return over_values(scale.slope * similarity.astype(np.float64), axis=1)


def sigmoid(similarity: Float[np.ndarray, "n v"], scale: Scale) -> Float[np.ndarray, "n v"]:
    """Probabilities of each value of a multi attribute on its own."""
    from scipy.special import expit

    return expit(scale.slope * similarity.astype(np.float64) + scale.offset)


def fit_softmax(similarity: Float[np.ndarray, "n v"], truth: Int[np.ndarray, " n"]) -> Scale:
    """The slope under which the true values are most probable, between 0.1 and 1000.

    Raises:
        ValueError: no items.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(truth):
        raise ValueError("a temperature cannot be fitted on no items")
    step = max(1, _SCORES // max(similarity.shape[1], 1))
    starts = range(0, len(truth), step)

    def loss(log_slope: float) -> float:
        slope, total = np.exp(log_slope), 0.0
        for start in starts:
            own = truth[start : start + step]
            logs = log_softmax(slope * similarity[start : start + step].astype(np.float64), axis=1)
            total -= logs[np.arange(len(own)), own].sum()
        return total / len(truth)

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(1000.0)), method="bounded")
    return Scale(float(np.exp(found.x)))


def fit_sigmoid(similarity: Float[np.ndarray, "n v"], truth: Bool[np.ndarray, "n v"]) -> Scale:
    """The slope and offset under which what is true and what is not are most probable; slope at least 0.1.

    Raises:
        ValueError: no items.
    """
    from scipy.optimize import minimize

    if not len(truth):
        raise ValueError("a temperature cannot be fitted on no items")
    wide, sign = similarity.astype(np.float64), np.where(truth, 1.0, -1.0)

    def loss(point: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -sign * (np.exp(point[0]) * wide + point[1])).mean())

    best = minimize(
        loss, [np.log(10.0), 0.0], method="L-BFGS-B", bounds=[(np.log(0.1), np.log(1000.0)), (-500.0, 500.0)]
    )
    return Scale(float(np.exp(best.x[0])), float(best.x[1]))


def bin_of(confidence: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The bin of each probability."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def reliability(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> Reliability:
    """How far stated probabilities are from the share that came true."""
    place = bin_of(confidence)
    items = np.bincount(place, minlength=BINS)
    some = np.maximum(items, 1)
    stated = np.bincount(place, confidence, minlength=BINS) / some
    true = np.bincount(place, right, minlength=BINS) / some
    return Reliability(float((items * np.abs(stated - true)).sum() / max(len(right), 1)), stated, true, items)
