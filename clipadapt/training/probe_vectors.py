"""Value vectors from few labels: a regularised linear probe, written as unit vectors.

Free vectors that are fitted to a handful of labelled items learn these items rather than the value, in however few
steps; logistic regression with a penalty recognises and finds more (eval/LOG.md, "Few labels"). Its score is `W x + b`,
that of a value vector a cosine, by which pictures are searched, too. So the probe is written as vectors whose cosines
are its scores times one factor, but for what unseen pictures have of two directions:

    W                     as it is, times the factor that makes the longest vector one of unit length
    b                     along the direction whose product with every picture is 1, the mean through their covariance
    what lengths lack     along a direction that pictures have next to no part in

Nothing here knows of catalogues, towers or steps.
"""

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression

from clipadapt.training.probe import DEFAULT, ITERATIONS, fitted

FEW = 20
"""Labelled items a value, on the average over an attribute's values, up to which this is done. On fashion photos, and
judged on the rest of the training split: 0.4 to 2 points of balanced accuracy over free vectors up to 8 of each value,
as good at 16 and 32 (of rare values there were fewer: 20 on the average), 1 point below them at 64 (30)."""
RIDGE = 0.1
"""Added to the pictures' covariance, in parts of its mean variance; 0.01 to 1 differ by 0.2 points at most."""
EMPTY = 1e-3
"""The same where the direction is sought that pictures have no part in: it has to be as good as zero."""


def few(labels: int, values: int) -> bool:
    """Whether so many labelled items of so many values are few."""
    return labels <= FEW * values


def probe_vectors(
    pictures: Float[np.ndarray, "m d"], labels: Int[np.ndarray, " m"], away: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "v d"]:
    """A unit vector of each value of one attribute.

    Args:
        pictures: unit vectors of all items there are: those without a label say how pictures lie, too.
        labels: rows of the values, from 0; -1 unknown; each of the two or more values has an item.
        away: any direction; the part of it that pictures have nothing of fills up lengths.
    """
    known, labels = pictures[labels >= 0].astype(np.float64), labels[labels >= 0]
    mean = known.mean(axis=0)
    spread = max(float(np.sqrt(((known - mean) ** 2).mean())), 1e-9)
    model = LogisticRegression(C=DEFAULT[0], max_iter=ITERATIONS, class_weight="balanced")
    weight, bias = fitted(model, (known - mean) / spread, labels)
    weight = weight / spread
    return as_unit_vectors(weight, bias - weight @ mean, pictures, away)


def as_unit_vectors(
    weight: Float[np.ndarray, "v d"],
    bias: Float[np.ndarray, " v"],
    pictures: Float[np.ndarray, "m d"],
    away: Float[np.ndarray, " d"],
) -> Float[np.ndarray, "v d"]:
    """Unit vectors whose cosines with pictures like these are `weight x + bias`, times one factor."""
    pictures = pictures.astype(np.float64)
    mean, covariance = pictures.mean(axis=0), np.atleast_2d(np.cov(pictures, rowvar=False))
    variance, identity = max(float(np.trace(covariance)) / len(mean), 1e-12), np.eye(len(mean))
    constant = np.linalg.solve(covariance + RIDGE * variance * identity, mean)
    rows = weight + bias[:, None] * constant / (constant @ mean)
    energy = covariance + np.outer(mean, mean) + EMPTY * variance * identity
    empty = np.linalg.solve(energy, np.linalg.solve(energy, away.astype(np.float64)))  # inverse iteration
    empty /= np.linalg.norm(empty)
    rows -= np.outer(rows @ empty, empty)
    rows /= max(float(np.linalg.norm(rows, axis=1).max()), 1e-12)
    lacking = np.sqrt(np.maximum(1.0 - (rows**2).sum(axis=1), 0.0))
    return rows + lacking[:, None] * empty
