"""Attribute recognition: each item takes the value whose text is nearest, among all values on offer.

Of a model with a linear head it takes the value that the head gives the highest score.

    predictions = recognise(attribute, values, truth, pictures, texts)
    predictions.cases             # (item, value): one per item for an exclusive attribute, else one per value it has
    predictions.hit["adapted"]    # which of them were found

An item with several values of a multi attribute may name as many values as it has. Pictures are compared in blocks, so
no item x value matrix outlives a block. Unknown items are not in here: whoever calls has left them out.
Nothing here knows of intervals or bins.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

_BLOCK = 16_384
"""Items compared at once."""


class Predictions(NamedTuple):
    """What every system took the items of one attribute for."""

    attribute: str
    values: tuple[str, ...]
    """On offer."""
    items: Int[np.ndarray, " n"]
    """Rows of the catalogue with at least one of the values."""
    cases: Int[np.ndarray, "cases 2"]
    """(place in items, value) of every value that an item has."""
    hit: dict[str, Bool[np.ndarray, " cases"]]
    """System -> whether the value was found."""
    chosen: dict[str, Int[np.ndarray, " n"]]
    """System -> the nearest value."""
    right: dict[str, Bool[np.ndarray, " n"]]
    """System -> whether the nearest value is one that the item has."""

    def confusion(self, system: str) -> Int[np.ndarray, "value chosen"]:
        """Cases by value and by the value chosen."""
        size = len(self.values)
        flat = self.cases[:, 1] * size + self.chosen[system][self.cases[:, 0]]
        return np.bincount(flat, minlength=size * size).reshape(size, size)


def recognise(
    attribute: str,
    values: Sequence[str],
    value_sets: Sequence[frozenset[str]],
    pictures: Mapping[str, Float[np.ndarray, "catalogue dim"]],
    texts: Mapping[str, Float[np.ndarray, "v dim"]],
    biases: Mapping[str, Float[np.ndarray, " v"]] | None = None,
) -> Predictions:
    """Predicts the values of all items that have one of those on offer.

    Args:
        value_sets: of every item of the catalogue; empty where unknown.
        pictures: system -> unit vectors of every item.
        texts: system -> unit vectors of the values, in their order; or the weights of its linear head.
        biases: system -> what its linear head adds to each value's score; none where not named.
    """
    place = {value: number for number, value in enumerate(values)}
    known = [(row, [place[one] for one in sorted(had) if one in place]) for row, had in enumerate(value_sets)]
    known = [(row, had) for row, had in known if had]
    items = np.array([row for row, _ in known], np.int64)
    cases = np.array([(item, one) for item, (_, had) in enumerate(known) for one in had], np.int64).reshape(-1, 2)
    predictions = Predictions(attribute, tuple(values), items, cases, {}, {}, {})
    for system in pictures:
        allowed = np.bincount(cases[:, 0], minlength=len(items))
        order = _nearest(pictures[system], items, texts[system], (biases or {}).get(system, 0.0), allowed)
        predictions.hit[system] = (order[cases[:, 0]] == cases[:, 1:]).any(axis=1)
        predictions.chosen[system] = order[:, 0]
        predictions.right[system] = np.bincount(
            cases[:, 0], cases[:, 1] == order[cases[:, 0], 0], minlength=len(items)
        ).astype(bool)
    return predictions


def _nearest(
    pictures: np.ndarray,
    items: Int[np.ndarray, " n"],
    texts: np.ndarray,
    bias: np.ndarray | float,
    allowed: Int[np.ndarray, " n"],
) -> Int[np.ndarray, "n most"]:
    """The nearest values of each item, best first; -1 beyond the number it may name."""
    most = int(allowed.max(initial=1))
    order = np.empty((len(items), most), np.int64)
    for start in range(0, len(items), _BLOCK):
        rows = items[start : start + _BLOCK]
        similarity = pictures[rows] @ texts.T + bias
        if most == 1:
            order[start : start + len(rows), 0] = similarity.argmax(axis=1)
        else:
            order[start : start + len(rows)] = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
    order[np.arange(most) >= np.maximum(allowed, 1)[:, None]] = -1
    return order
