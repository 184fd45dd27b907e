"""Rankings in which ties count against the system: of equal scores, wrong answers come first.

A model that gives everything one vector must not look good because a table is sorted by class. Scores within `TIED` of
the next one count as equal, for float32 sums, and batches of an encoder, set equal pictures that far apart. Where a tie
reaches beyond the depth, all of it is looked at. Nothing here knows of models, attributes or intervals.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.search.topk import TopK, topk

TIED = 2e-7
"""Cosines that rounding alone can set apart; the spacing of float32 just below 1 is 6e-8."""

Answers = Int[np.ndarray, "queries answers"]
Right = Callable[[Int[np.ndarray, "queries 1"], Answers], Bool[np.ndarray, "queries answers"]]
"""(numbers of queries, places in the gallery) -> which of those answers are right."""


def ranking(
    queries: Float[np.ndarray, "queries dim"], gallery: Float[np.ndarray, "gallery dim"], depth: int, right: Right
) -> Int[np.ndarray, "queries depth"]:
    """Places in the gallery, best first; `depth` is at most the size of the gallery."""
    found = topk(queries, gallery, min(depth + 1, len(gallery)))
    numbers = np.arange(len(queries))[:, None]
    places = _wrong_first(found, right(numbers, found.indices))[:, :depth]
    if depth == len(gallery):
        return places
    for number in np.flatnonzero(_reach_beyond(found)):
        one, whole, wide = slice(number, number + 1), found, depth
        while _reach_beyond(whole)[-1] and wide < len(gallery):
            wide = min(4 * wide, len(gallery))
            whole = topk(queries[one], gallery, wide)
        places[number] = _wrong_first(whole, right(numbers[one], whole.indices))[0, :depth]
    return places


def _reach_beyond(found: TopK) -> Bool[np.ndarray, " queries"]:
    """Whether the last two scores are equal, so that more of the same may follow."""
    return found.scores[:, -2] - found.scores[:, -1] <= TIED


def _wrong_first(found: TopK, right: Bool[np.ndarray, "queries answers"]) -> Answers:
    """The same answers; of equal scores those that are right come last."""
    apart = np.diff(found.scores, axis=1, prepend=np.inf) < -TIED
    keys = 2 * np.cumsum(apart, axis=1, dtype=np.int32) + right
    return np.take_along_axis(found.indices, np.argsort(keys, axis=1, kind="stable"), axis=1)
