"""The lowest probability at which predictions are still right often enough, shown on tune and not merely seen there.

    found = certify(probability, right, products, precision=0.95, confidence=0.9)
    found.threshold       # None: no threshold could be shown to reach the precision; found.reason says why

A threshold at which tune's own precision is 95% would miss it half the time elsewhere. So each candidate is tested
against "the precision is lower than that", by Clopper and Pearson's bound: the one bound that is not too hopeful where
it matters here, at a few dozen predictions with no or one error (Jeffreys's interval accepts 38 of 38 as 95%; the
chance of that under a precision of exactly 95% is 14%). Items of one product are taken to be right or wrong together,
so that predictions are worth (sum of sizes)^2 / sum of sizes^2 observations. Many thresholds are tried, so the chance
of error is spent once: it starts at a few preset numbers of predictions, and is handed on from each threshold that
passes to the next lower one, until one fails. Then in at least `confidence` of all tune samples the true precision at
the threshold is reached. The trade: about 45 independent predictions without any error are the least from which 95% can
be shown.
Nothing here knows of values, pictures or splits.
Source: Angelopoulos, Bates, Candes, Jordan & Lei, "Learn then test" (2021); Wiens, "A fixed sequence Bonferroni
procedure for testing multiple endpoints" (2003), for handing on; Korn & Graubard (1998), for effective sizes.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.special import betainc

_RATIO = 1.5
"""Between the numbers of predictions at which testing starts."""


class Certified(NamedTuple):
    """A threshold and what it was shown by."""

    threshold: float | None
    """Predictions of this probability or more are sure; None: none is."""
    reason: str
    """Why there is none; empty when there is one."""
    predictions: int
    """On tune, at the threshold or above; all of them when there is none."""
    right: int
    """Of those."""
    effective: float
    """Independent observations that those are worth."""


def least(precision: float, confidence: float) -> int:
    """Fewest independent predictions, all of them right, that show a precision."""
    return math.ceil(math.log(1 - confidence) / math.log(precision) - 1e-9)


def certify(
    probability: Float[np.ndarray, " predictions"],
    right: Bool[np.ndarray, " predictions"],
    products: Shaped[np.ndarray, " predictions"],
    *,
    precision: float = 0.95,
    confidence: float = 0.9,
) -> Certified:
    """The lowest threshold whose precision was shown.

    Raises:
        ValueError: a precision or confidence that is no fraction between 0 and 1.
    """
    for name, share in (("precision", precision), ("confidence", confidence)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} is {share}; it must lie between 0 and 1, both excluded")
    order = np.argsort(-probability, kind="stable")
    ordered, hits = probability[order], np.cumsum(right[order])
    worth = effective(products[order])
    total = (len(order), int(hits[-1]) if len(order) else 0, float(worth[-1]) if len(order) else 0.0)
    needed = least(precision, confidence)
    if worth.max(initial=0.0) < needed:
        about = f"{total[0]} predictions on tune are worth {total[2]:.0f} independent ones"
        return Certified(None, f"{about}, and fewer than {needed} cannot show {precision:.0%} precision", *total)
    passed = _walk(ordered, hits, worth, precision, 1 - confidence)
    if passed is None:
        share = f"{total[1]} of its {total[0]} predictions on tune are right"
        return Certified(None, f"no threshold shows {precision:.0%} precision; {share}", *total)
    return Certified(float(ordered[passed]), "", passed + 1, int(hits[passed]), float(worth[passed]))


def effective(products: Shaped[np.ndarray, " predictions"]) -> Float[np.ndarray, " predictions"]:
    """What the first predictions, up to each, are worth in independent ones when those of a product agree."""
    if not len(products):
        return np.zeros(0)
    _, place = np.unique(products, return_inverse=True)
    by_product = np.argsort(place, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(place))[:-1]])
    before = np.empty(len(place), np.int64)
    before[by_product] = np.arange(len(place)) - starts[place[by_product]]
    return np.arange(1, len(place) + 1) ** 2.0 / np.cumsum(2 * before + 1)


def chance(
    hits: Shaped[np.ndarray, " predictions"], worth: Float[np.ndarray, " predictions"], precision: float
) -> Float[np.ndarray, " predictions"]:
    """Of seeing a share this high, of the first predictions up to each, if the true one were just `precision`."""
    found = worth * hits / np.arange(1, len(hits) + 1)
    return np.where(found > 0, betainc(np.maximum(found, 1e-9), worth - found + 1, precision), 1.0)


def _walk(ordered: np.ndarray, hits: np.ndarray, worth: np.ndarray, precision: float, error: float) -> int | None:
    """Place of the last prediction at or above the lowest threshold that passed."""
    starts = _starts(float(worth.max()), precision, error)
    p = chance(hits, worth, precision)
    last_of_tie = np.append(ordered[:-1] != ordered[1:], True)
    purse, opened, passed = 0.0, 0, None
    for place in range(len(ordered)):
        while opened < len(starts) and worth[place] >= starts[opened]:
            purse, opened = purse + error / len(starts), opened + 1
        if purse and last_of_tie[place]:
            if p[place] <= purse:
                passed = place
            else:
                purse = 0.0
    return passed


def _starts(most: float, precision: float, error: float) -> list[float]:
    """Numbers of observations at which testing starts: as many as there is room for, each by half more."""
    number = 1
    while least(precision, 1 - error / (number + 1)) * _RATIO**number <= most:
        number += 1
    return [least(precision, 1 - error / number) * _RATIO**step for step in range(number)]
