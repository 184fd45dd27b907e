"""Recognition of one attribute: each item takes the value with the highest score, among all values on offer.

    predictions = recognise(attribute, values, value_sets, pictures, classifiers)
    predictions.cases             # (item, value): one per item for an exclusive attribute, else one per value it has
    predictions.hit["adapted"]    # which of them were recognised

An item with several values of a multi attribute may name as many values as it has. Unknown items are not in here:
whoever calls has left them out. Nothing here knows of intervals or bins.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.recognition.nearest import nearest_several
from clipadapt.recognition.values import Classifier


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
    """System -> whether the value was recognised."""
    chosen: dict[str, Int[np.ndarray, " n"]]
    """System -> the value with the highest score."""
    right: dict[str, Bool[np.ndarray, " n"]]
    """System -> whether that is one that the item has."""

    @property
    def rows(self) -> Int[np.ndarray, " cases"]:
        """Rows of the catalogue, of the cases."""
        return self.items[self.cases[:, 0]]

    @property
    def counts(self) -> Int[np.ndarray, " values"]:
        """Cases of each value."""
        return np.bincount(self.cases[:, 1], minlength=len(self.values))


def recognise(
    attribute: str,
    values: Sequence[str],
    value_sets: Sequence[frozenset[str]],
    pictures: Mapping[str, Float[np.ndarray, "catalogue dim"]],
    classifiers: Mapping[str, Classifier],
) -> Predictions:
    """Predicts the values of all items that have one of those on offer.

    Args:
        value_sets: of every item of the catalogue; empty where unknown.
        pictures: system -> unit vectors of every item.
        classifiers: system -> what scores the values, in their order.
    """
    place = {value: number for number, value in enumerate(values)}
    known = [(row, [place[one] for one in sorted(had) if one in place]) for row, had in enumerate(value_sets)]
    known = [(row, had) for row, had in known if had]
    items = np.array([row for row, _ in known], np.int64)
    cases = np.array([(item, one) for item, (_, had) in enumerate(known) for one in had], np.int64).reshape(-1, 2)
    predictions = Predictions(attribute, tuple(values), items, cases, {}, {}, {})
    allowed = np.bincount(cases[:, 0], minlength=len(items))
    for system, vectors in pictures.items():
        order = nearest_several(vectors[items], classifiers[system], allowed)
        predictions.hit[system] = (order[cases[:, 0]] == cases[:, 1:]).any(axis=1)
        predictions.chosen[system] = order[:, 0]
        right = np.bincount(cases[:, 0], cases[:, 1] == order[cases[:, 0], 0], minlength=len(items))
        predictions.right[system] = right.astype(bool)
    return predictions
