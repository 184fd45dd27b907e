"""The mean of one arm of an experiment and its variance, clustered by user.

    arm_mean(clicks, shown, users)                                  # click-through: clicks over what was shown
    arm_mean(clicks, shown, users, positions, weights)              # the same with the positions' shares held fixed

Users come back, some a hundred times, and one who never clicks never does. So a user, not an impression, is the
observation: the variance is that of the users' summed residuals (the sandwich of a ratio of two sums). Unlike
effective.py it models nothing, which takes some hundred users, and is right where heavy users click more or less than
others do.
Source: Deng, Knoblich & Lu, "Applying the delta method in metric analytics", KDD 2018; Huber (1967).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class ArmMean(NamedTuple):
    """A mean of scores, and what it rests on."""

    mean: float
    variance: float
    """Of the mean, over users."""
    users: int
    items: int
    scoring: int
    """Users with any score above zero; the fewer they are, the less normal is the mean."""


def arm_mean(
    scores: Float[np.ndarray, " cells"],
    counts: Float[np.ndarray, " cells"],
    users: Int[np.ndarray, " cells"],
    classes: Int[np.ndarray, " cells"] | None = None,
    weights: Float[np.ndarray, " classes"] | None = None,
) -> ArmMean:
    """Of one arm's items, summed into cells.

    Args:
        scores: summed over the items of a cell.
        counts: items of a cell.
        users: of each cell; several cells may be of one.
        classes: of each cell, 0 to C - 1; null: all the same.
        weights: of each class's mean, adding up to 1; a class of weight above 0 has items. null: one class.

    Raises:
        ValueError: fewer than two users, or a class that is weighed and has no items.
    """
    where = np.zeros(len(scores), np.int64) if classes is None else classes
    shares = np.ones(1) if weights is None else weights
    names, place = np.unique(users, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"{len(names)} user(s), and one says nothing about how users differ")
    items = np.bincount(where, counts, minlength=len(shares))
    if ((items == 0) & (shares > 0)).any():
        raise ValueError("a class that is weighed has no items")
    means = np.bincount(where, scores, minlength=len(shares)) / np.maximum(items, 1)
    residuals = (shares / np.maximum(items, 1))[where] * (scores - means[where] * counts)
    by_user = np.bincount(place, residuals)
    variance = float((by_user**2).sum() * len(names) / (len(names) - 1))
    scoring = int((np.bincount(place, scores) > 0).sum())
    return ArmMean(float(shares @ means), variance, len(names), int(counts.sum()), scoring)
