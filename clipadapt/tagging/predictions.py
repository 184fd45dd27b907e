"""Which values an item can have, and which of them a model predicts, each with its probability.

    candidates = candidates_of(Attribute("Pattern"), prompts, tune.counts("Pattern"))
    made = predict(vectors, texts, candidates, scale)   # exclusive: one per item; multi: at least one
    truth = truth_of(candidates, catalogue.value_sets("Pattern"))

Not applicable is a value like others where the prompts file has words for it; all cells that say so are one. A value
that nobody in tune has competes with the rest but is never believed: nothing tells what its probability is worth.
Nothing here knows of thresholds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.data.catalogue import Attribute
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import is_absent
from clipadapt.recognition.calibration import Scale, sigmoid, softmax

_BLOCK = 16_384
"""Items compared at once."""


class Candidates(NamedTuple):
    """What an attribute's values are chosen from."""

    attribute: str
    kind: Literal["exclusive", "multi"]
    separator: str
    values: tuple[str, ...]
    """As tables write them; most frequent on tune first."""
    tune_items: tuple[int, ...]
    """Of each value; 0: its probability cannot be calibrated."""
    absent: tuple[str, ...]
    """Cells that say "not applicable"; the first is the one among `values`. Empty: the prompts have no words for it."""

    @property
    def calibrated(self) -> Bool[np.ndarray, " v"]:
        """Values that tune has."""
        return np.array(self.tune_items, np.int64) > 0

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Values that nobody in tune has, by name."""
        return tuple(value for value, items in zip(self.values, self.tune_items, strict=True) if not items)

    def is_absent(self, place: int) -> bool:
        """Whether a value says "not applicable"."""
        return self.values[place] in self.absent


class TagPredictions(NamedTuple):
    """What a model says of items, rows and values by number; ordered by row, an item's most probable first."""

    rows: Int[np.ndarray, " predictions"]
    values: Int[np.ndarray, " predictions"]
    probability: Float[np.ndarray, " predictions"]


class Truth(NamedTuple):
    """What people say of items."""

    labelled: Bool[np.ndarray, " n"]
    """Whether anything is known; what is not is neither right nor wrong."""
    has: Bool[np.ndarray, "n v"]
    """Whether it has a value; all False where it only has values that are no candidates."""

    def right(self, predictions: TagPredictions) -> Bool[np.ndarray, " predictions"]:
        """Which predictions hold."""
        return self.has[predictions.rows, predictions.values]


def candidates_of(
    attribute: Attribute, prompts: Prompts, on_tune: Mapping[str, int], known: Iterable[str] = ()
) -> Candidates:
    """All values of tune, of the prompts file and of `known`; equal whatever is tagged.

    Args:
        on_tune: value -> items.
        known: values met elsewhere, as in training.

    Raises:
        PromptError: the file has no words for the attribute.
    """
    words = prompts.wording(attribute.name)
    cells = sorted(prompts.library.absent_cells, key=lambda cell: (-on_tune.get(cell, 0), cell))
    absent = tuple(cell for cell in cells if is_absent(prompts.library, words, cell))
    counts = {value: on_tune.get(value, 0) for value in (*on_tune, *words.values, *known) if value not in absent}
    if absent:
        counts[absent[0]] = sum(on_tune.get(cell, 0) for cell in absent)
    values = sorted(counts, key=lambda value: (-counts[value], value))
    return Candidates(
        *attribute[:2], attribute.separator, tuple(values), tuple(counts[value] for value in values), absent
    )


def truth_of(candidates: Candidates, value_sets: Sequence[frozenset[str]]) -> Truth:
    """What labels say, by the candidates' numbers."""
    place = {value: number for number, value in enumerate(candidates.values)}
    if candidates.absent:
        place |= dict.fromkeys(candidates.absent, place[candidates.absent[0]])
    has = np.zeros((len(value_sets), len(candidates.values)), bool)
    for row, values in enumerate(value_sets):
        has[row, [place[value] for value in values if value in place]] = True
    return Truth(np.array([bool(values) for values in value_sets], bool), has)


def predict(
    pictures: Float[np.ndarray, "n dim"], texts: Float[np.ndarray, "v dim"], candidates: Candidates, scale: Scale
) -> TagPredictions:
    """What each item is predicted to be.

    An item of an exclusive attribute is the most probable of all values; one of a multi attribute has every value
    that is more likely than not, and the likeliest in any case. There, only values that tune has are predicted.
    """
    parts = []
    wanted = np.flatnonzero(candidates.calibrated)
    for start in range(0, len(pictures), _BLOCK):
        similarity = pictures[start : start + _BLOCK] @ texts.T.astype(np.float32)
        rows = np.arange(len(similarity))
        if candidates.kind == "exclusive":
            chances = softmax(similarity, scale)
            best = chances.argmax(axis=1)
            parts.append((start + rows, best, chances[rows, best]))
            continue
        chances = sigmoid(similarity[:, wanted], scale.of(wanted))
        stated = chances >= 0.5
        if len(wanted):
            stated[rows, chances.argmax(axis=1)] = True
        row, column = np.nonzero(stated)
        order = np.lexsort((-chances[row, column], row))
        parts.append((start + row[order], wanted[column[order]], chances[row[order], column[order]]))
    if not parts:
        return TagPredictions(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return TagPredictions(*(np.concatenate(part) for part in zip(*parts, strict=True)))
