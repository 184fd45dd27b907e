"""How often recognition is right: which values count, recall, balanced accuracy, rare values. One definition for all.

    values = offered(catalogue.counts("Pattern"), min_items=5)       # these compete, and these are measured
    means = accuracies([predictions, ...], counts, min_items=5)
    means["rare_balanced_accuracy"].mean("adapted")

balanced_accuracy        the mean over attributes of the mean over their values of recall
rare_balanced_accuracy   the mean recall over the rare values of all attributes together: few have many
top1                     the mean over attributes of the share of items whose first choice is right

Rare goes by labelled training items (data/bins.py). Nothing here knows of intervals; what comes out is what they need.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from clipadapt.data.bins import rare
from clipadapt.recognition.predict import Predictions
from clipadapt.statistics.evidence import ClassMeans

MIN_ITEMS = 5
"""Of a value in a split that is reported; a choice on the small tune split lets every value count."""


def offered(counts: Mapping[str, int], min_items: int = 1) -> list[str]:
    """Values with `min_items` items or more in what is measured, most frequent first, then by name."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [value for value, count in ordered if count >= min_items]


def recall(predictions: Predictions, places: Sequence[int] | Int[np.ndarray, " some"]) -> ClassMeans:
    """Recall meaned over some values, named by number; the others stay as context for an interval."""
    weights = np.zeros(len(predictions.values))
    weights[np.asarray(places, np.int64)] = 1.0 / len(places)
    return ClassMeans(_scores(predictions.hit), predictions.cases[:, 1], predictions.rows, weights)


def recalls(predictions: Predictions) -> list[ClassMeans]:
    """Recall of every value alone; as `recall` of each, but all share their arrays, for values may be thousands."""
    scores, rows, size = _scores(predictions.hit), predictions.rows, len(predictions.values)
    one = np.zeros(2 * size - 1)
    one[size - 1] = 1.0
    weights = (one[size - 1 - place : 2 * size - 1 - place] for place in range(size))  # views: a single 1 at `place`
    return [ClassMeans(scores, predictions.cases[:, 1], rows, own) for own in weights]


def accuracies(
    predictions: Sequence[Predictions], counts: Mapping[str, Mapping[str, int]] | None, min_items: int = 1
) -> dict[str, ClassMeans]:
    """The aggregates of several attributes; a figure that no value counts for is left out.

    Args:
        predictions: an attribute each, of the same catalogue and systems.
        counts: attribute -> value -> labelled training items; null: no value is known to be rare.
        min_items: values with fewer items here are not measured, though they compete.
    """
    scored = [one for one in predictions if (one.counts >= min_items).any()]
    if not scored:
        return {}
    enough = [one.counts >= min_items for one in scored]
    found = {
        "balanced_accuracy": _joined(scored, [among / among.sum() for among in enough]),
        "top1": _top1([one for one in scored if len(one.items)]),
    }
    if counts is not None:
        scarce = [
            among & _is_rare(one, counts.get(one.attribute, {})) for one, among in zip(scored, enough, strict=True)
        ]
        if any(among.any() for among in scarce):
            found["rare_balanced_accuracy"] = _joined(scored, [among.astype(np.float64) for among in scarce])
    return found


def balanced_accuracy(right: Bool[np.ndarray, " cases"], classes: Int[np.ndarray, " cases"]) -> float:
    """The mean over classes that occur of the share of their cases that is right; 0 without cases."""
    if not len(classes):
        return 0.0
    counts = np.bincount(classes)
    weights = (counts > 0) / (counts > 0).sum()
    return ClassMeans({"": right.astype(np.float64)}, classes, classes, weights).mean("")


def _is_rare(predictions: Predictions, counts: Mapping[str, int]) -> Bool[np.ndarray, " values"]:
    scarce = rare(counts, predictions.values)
    return np.array([value in scarce for value in predictions.values], bool)


def _joined(scored: Sequence[Predictions], weights: Sequence[np.ndarray]) -> ClassMeans:
    """One mean over values of several attributes, by weights that are scaled to sum to 1."""
    starts = np.cumsum([0, *(len(one.values) for one in scored)])
    merged = np.concatenate(weights)
    return ClassMeans(
        _scores({system: np.concatenate([one.hit[system] for one in scored]) for system in scored[0].hit}),
        np.concatenate([one.cases[:, 1] + start for one, start in zip(scored, starts, strict=False)]),
        np.concatenate([one.rows for one in scored]),
        merged / merged.sum(),
    )


def _top1(scored: Sequence[Predictions]) -> ClassMeans:
    return ClassMeans(
        _scores({system: np.concatenate([one.right[system] for one in scored]) for system in scored[0].right}),
        np.concatenate([np.full(len(one.items), number) for number, one in enumerate(scored)]),
        np.concatenate([one.items for one in scored]),
        np.full(len(scored), 1.0 / len(scored)),
    )


def _scores(hits: Mapping[str, Bool[np.ndarray, " cases"]]) -> dict[str, np.ndarray]:
    return {system: hit.astype(np.float64) for system, hit in hits.items()}
