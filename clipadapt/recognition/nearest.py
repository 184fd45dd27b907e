"""The value with the highest score, for each picture: the one place where recognition decides.

Scores are computed in float32 and settled in float64 where the two best are closer than float32 can say, so that every
caller decides as a slow computation in float64 would, whatever its batches. Of equal scores the first value wins.
Pictures are compared in blocks, so no matrix of pictures x values outlives a block. Vectors in, codes out.
"""

import numpy as np
from jaxtyping import Float, Int

from clipadapt.recognition.values import Classifier

_SCORES = 1 << 24
"""Scores held at once: 64 MB."""
_UNSURE = 1e-5
"""A difference of cosines that float32 sums over a thousand dimensions cannot be trusted with."""


def nearest(pictures: Float[np.ndarray, "n dim"], classifier: Classifier) -> Int[np.ndarray, " n"]:
    """The value of each picture, by number."""
    weights, bias = classifier.weights.astype(np.float64), classifier.bias.astype(np.float64)
    unsure = _UNSURE * max(1.0, float(np.linalg.norm(weights, axis=1).max(initial=0) + np.abs(bias).max(initial=0)))
    codes = np.empty(len(pictures), np.int64)
    step = max(1, _SCORES // max(len(bias), 1))
    for start in range(0, len(pictures), step):
        block = pictures[start : start + step]
        scores = classifier.scores(block)
        best, top = scores.argmax(axis=1), scores.max(axis=1)
        close = np.flatnonzero((scores > top[:, None] - unsure).sum(axis=1) > 1)
        if len(close):
            best[close] = (block[close].astype(np.float64) @ weights.T + bias).argmax(axis=1)
        codes[start : start + step] = best
    return codes


def nearest_several(
    pictures: Float[np.ndarray, "n dim"], classifier: Classifier, allowed: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "n most"]:
    """The values of each picture, best first; -1 beyond the number it is allowed, which is 1 or more."""
    order = np.full((len(pictures), int(allowed.max(initial=1))), -1, np.int64)
    order[:, 0] = nearest(pictures, classifier)
    weights, bias = classifier.weights.astype(np.float64), classifier.bias.astype(np.float64)
    several = np.flatnonzero(allowed > 1)
    step = max(1, _SCORES // (2 * max(len(bias), 1)))
    for start in range(0, len(several), step):
        rows = several[start : start + step]
        ranked = np.argsort(-(pictures[rows].astype(np.float64) @ weights.T + bias), axis=1, kind="stable")
        ranked = ranked[:, : order.shape[1]]
        order[rows, : ranked.shape[1]] = ranked
    order[np.arange(order.shape[1]) >= allowed[:, None]] = -1
    return order
