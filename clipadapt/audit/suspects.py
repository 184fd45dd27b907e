"""The labels likeliest to be wrong: those to which a model, fitted on other products, gives the least probability.

    found = suspects(catalogue.attributes, vectors, labels)      # the likeliest error first
    found.suspects[0].instead                          # what the model takes the item for

Logistic regression on frozen picture vectors, fitted on four fifths of the products and asked about the rest, five
times, so that no label is judged by a model that learned it or its product's other pictures. Items of one product that
share a label are wrong together, so their log-probabilities are averaged before labels are ranked. The rank is the
pooled probability of the label itself; measured on planted errors this finds more of them than ranking items, and more
than the margin to the best other value, which cleanlab takes by default (eval/benchmarks/label_audit.py has both).
A value that no other product has cannot be judged, and is counted. What is listed is confident disagreement, not
proof: rare values and looks that the model cannot see come high without being wrong.
Source: Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels" (2021).
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from clipadapt import keyed
from clipadapt.audit.labels import Labels
from clipadapt.data.values import Attribute
from clipadapt.progress import track

FOLDS = 5
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Inverse regularisation; the one of least log loss on the first fold, fitted without it, is taken."""
ITERATIONS = 200
_FLOOR = 1e-6
"""Least probability, so that one sure miss does not hide what the other pictures of a product say."""


class Suspect(NamedTuple):
    """A label with which the model disagrees."""

    label: int
    """Place in the labels."""
    instead: str
    """The likeliest value; of a multi-valued attribute "not VALUE"."""
    probability: float
    """Of the label, over the product's pictures that share it."""
    other: float
    """Of the value instead."""


class Suspects(NamedTuple):
    """What the model says of all labels."""

    suspects: tuple[Suspect, ...]
    """Those that it disagrees with, the likeliest error first."""
    judged: int
    """The labels that it judges."""
    unjudged: int
    """Of values that no other product has, or of pictures that cannot be read."""
    order: Int[np.ndarray, " judged"]
    """All labels that were judged, the likeliest error first."""


class _Opinion(NamedTuple):
    """Of some labels of one attribute, from models that never saw their products."""

    places: Int[np.ndarray, " n"]
    """In the labels."""
    own: Float[np.ndarray, " n"]
    other: Float[np.ndarray, " n"]
    instead: list[str]


def suspects(
    attributes: Sequence[Attribute], vectors: Float[np.ndarray, "items dim"], labels: Labels, *, seed: int = 0
) -> Suspects:
    """Ranks the labels of a catalogue.

    Args:
        attributes: those that the labels are of.
        vectors: of the catalogue's pictures, unit length; rows of broken ones are NaN.
        labels: of the same catalogue.
        seed: of the folds.
    """
    whole = np.asarray(np.isfinite(vectors).all(axis=1))
    features = np.nan_to_num(vectors).astype(np.float64)
    mean, spread = features[whole].mean(axis=0), features[whole].std(axis=0)
    features = (features - mean) / np.where(spread > 1e-9, spread, 1.0)
    folds = np.array([keyed.integer(seed, "crossfit", str(name)) % FOLDS for name in labels.products])
    opinions: list[_Opinion] = []
    for attribute in track(attributes, label="cross-fitting", unit="attributes"):
        own = [at for at, one in enumerate(labels.strata) if one.attribute == attribute.name]
        places = np.flatnonzero(np.isin(labels.stratum, own) & whole[labels.row])
        if attribute.kind == "multi":
            known = np.unique(labels.row[places])
            opinions += [_of_member(labels, places, known, value, features, folds) for value in own]
        elif own:
            opinions.append(_of_values(labels, places, np.array(own), features, folds))
    places = np.concatenate([one.places for one in opinions] or [np.empty(0, np.int64)])
    own_chance = np.concatenate([one.own for one in opinions] or [np.empty(0)])
    other = np.concatenate([one.other for one in opinions] or [np.empty(0)])
    instead = [value for one in opinions for value in one.instead]
    order = np.lexsort((places, own_chance))
    found = [
        Suspect(int(places[at]), instead[at], float(own_chance[at]), float(other[at]))
        for at in order
        if other[at] > own_chance[at]
    ]
    return Suspects(tuple(found), len(places), len(labels) - len(places), places[order])


def crossfit(
    features: Float[np.ndarray, "n d"], classes: Int[np.ndarray, " n"], folds: Int[np.ndarray, " n"], number: int
) -> tuple[Float[np.ndarray, "n classes"], Bool[np.ndarray, " n"]]:
    """(probability of each class, by a model that was fitted without the item's fold; whether that model knew the
    item's own class). Rows without a model, for all other folds hold one class or none, know nothing.
    """
    chances, known = np.zeros((len(classes), number)), np.zeros(len(classes), bool)
    strength = None
    for fold in range(FOLDS):
        held = folds == fold
        seen = np.unique(classes[~held])
        if not held.any() or len(seen) < 2:
            continue
        if strength is None:
            tried = [_fitted(features, classes, held, one) for one in STRENGTHS]
            best = min(range(len(tried)), key=lambda at: _loss(tried[at], seen, classes[held]))
            strength, predicted = STRENGTHS[best], tried[best]
        else:
            predicted = _fitted(features, classes, held, strength)
        chances[np.ix_(np.flatnonzero(held), seen)] = predicted
        known[held] = np.isin(classes[held], seen)
    return chances, known


def pooled(
    chances: Float[np.ndarray, "n classes"], classes: Int[np.ndarray, " n"], products: Shaped[np.ndarray, " n"]
) -> Float[np.ndarray, "n classes"]:
    """Probabilities of each item's product: the mean of the logarithms over its items of the same class, made to sum
    to 1.
    """
    _, product = np.unique(products, return_inverse=True)
    _, group = np.unique(product * (classes.max(initial=0) + 1) + classes, return_inverse=True)
    sums = np.zeros((group.max(initial=-1) + 1, chances.shape[1]))
    np.add.at(sums, group, np.log(np.maximum(chances, _FLOOR)))
    means = np.exp(sums / np.bincount(group)[:, None])
    return (means / means.sum(axis=1, keepdims=True))[group]


def _of_values(
    labels: Labels, places: np.ndarray, own: np.ndarray, features: np.ndarray, folds: np.ndarray
) -> _Opinion:
    """Of an attribute with one value per item."""
    rows, classes = labels.row[places], labels.stratum[places] - own[0]
    chances, known = crossfit(features[rows], classes, folds[rows], len(own))
    chances = pooled(chances, classes, labels.products[rows])
    at = np.arange(len(classes))
    own_chance = chances[at, classes].copy()
    chances[at, classes] = -1
    best = chances.argmax(axis=1)
    names = [labels.strata[own[choice]].value for choice in best.tolist()]
    return _kept(_Opinion(places, own_chance, chances[at, best], names), known)


def _of_member(
    labels: Labels, places: np.ndarray, rows: np.ndarray, value: int, features: np.ndarray, folds: np.ndarray
) -> _Opinion:
    """Of one value of a multi-valued attribute, against the items that lack it."""
    own = places[labels.stratum[places] == value]
    has = np.isin(rows, labels.row[own]).astype(np.int64)
    chances, known = crossfit(features[rows], has, folds[rows], 2)
    chances = pooled(chances, has, labels.products[rows])
    yes = chances[has == 1, 1]
    names = [f"not {labels.strata[value].value}"] * len(yes)
    by_row = own[np.argsort(labels.row[own], kind="stable")]  # as rows are sorted
    return _kept(_Opinion(by_row, yes, 1 - yes, names), known[has == 1])


def _kept(opinion: _Opinion, known: np.ndarray) -> _Opinion:
    instead = [name for name, kept in zip(opinion.instead, known.tolist(), strict=True) if kept]
    return _Opinion(opinion.places[known], opinion.own[known], opinion.other[known], instead)


def _fitted(features: np.ndarray, classes: np.ndarray, held: np.ndarray, strength: float) -> np.ndarray:
    """Probabilities of the classes seen outside a fold, for the items in it."""
    model = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features[~held], classes[~held])
    return model.predict_proba(features[held])


def _loss(predicted: np.ndarray, seen: np.ndarray, classes: np.ndarray) -> float:
    """Mean negative log-probability of the classes that the model could know."""
    column = np.searchsorted(seen, classes)
    judged = np.isin(classes, seen)
    if not judged.any():
        return np.inf
    return float(-np.log(np.maximum(predicted[judged, column[judged]], _FLOOR)).mean())
