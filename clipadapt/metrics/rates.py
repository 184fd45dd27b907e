"""Are values as frequent as they were? Several new samples against one reference, many values at once.

    found = compare_rates(shares, known, groups, permutations=999, rng=generator)
    found.effect[w * values + v]        # share of value v in sample w + 1, minus its share in the reference

A unit is a product with its items, or a user with their queries; its share of a value is the part of them that has the
value, and a sample's share is the mean over units: a user with a thousand queries counts once. Units change places in
the permutations, so that the p-values are exact however alike the rows of a unit are, and however rare a value is.
`two_samples.jointly` corrects for all values and samples by the largest standardised difference of each permutation:
values of one attribute move together, which Holm's procedure would pay for as if they did not. `difference_interval`
is Newcombe's: from the two shares' own intervals, so that it never leaves the bounds and does not shrink to a point at
a share of 0. Nothing here knows what a value is.
Source: Westfall & Young, "Resampling-based multiple testing" (1993); Newcombe, "Interval estimation for the difference
between independent proportions", Statistics in Medicine 17 (1998) 873-890.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.metrics.intervals import Interval, balanced_interval
from clipadapt.metrics.two_samples import ROUNDING, Compared

_HELD = 4_000_000
"""Permuted labels at once: 32 MB."""


def compare_rates(
    shares: Float[np.ndarray, "units values"],
    known: Bool[np.ndarray, "units values"],
    groups: Int[np.ndarray, " units"],
    *,
    permutations: int,
    rng: np.random.Generator,
) -> Compared:
    """Samples 1 and up against sample 0, two-sided; figures are ordered by sample, then by value.

    Args:
        shares: of each unit, in [0, 1]; what is not known does not matter.
        known: whether anything is known of a unit's values of that attribute.
        groups: 0: the reference; 1 and up: new samples.

    Raises:
        ValueError: a sample of fewer than two units.
    """
    sizes = np.bincount(groups)
    if len(sizes) < 2 or sizes.min() < 2:
        raise ValueError(f"samples of {sizes.tolist()} units; each needs two")
    counted, weights = np.where(known, shares, 0.0).astype(np.float64), known.astype(np.float64)
    real = _differences(counted, weights, groups[:, None], len(sizes))
    each = max(_HELD // len(groups), 1)
    drawn = [
        _differences(
            counted,
            weights,
            rng.permuted(np.repeat(groups[:, None], min(each, permutations - at), axis=1), axis=0),
            len(sizes),
        )
        for at in range(0, permutations, each)
    ]
    whole = np.concatenate([real, *drawn])
    scores = np.abs(whole) / np.maximum(np.sqrt((whole**2).mean(axis=0)), 1e-12)  # permuted, they are 0 on average
    p = (scores >= scores[:1] - ROUNDING).mean(axis=0)
    return Compared(real[0], p, scores[0], scores[1:])


def difference_interval(
    reference: Float[np.ndarray, " old"], new: Float[np.ndarray, " new"], *, coverage: float = 0.95
) -> Interval:
    """Of the difference of two samples' shares, new minus reference, one share a unit; needs two units of each."""
    old, other = (
        balanced_interval(one, np.zeros(len(one), np.int64), np.arange(len(one)), coverage=coverage)
        for one in (reference, new)
    )
    difference = other.mean - old.mean
    below = np.hypot(other.mean - other.low, old.high - old.mean)
    above = np.hypot(other.high - other.mean, old.mean - old.low)
    return Interval(difference, max(float(difference - below), -1.0), min(float(difference + above), 1.0))


def _differences(
    counted: np.ndarray, weights: np.ndarray, labels: Int[np.ndarray, "units draws"], groups: int
) -> Float[np.ndarray, "draws figures"]:
    """Of each labelling; 0 where a sample knows nothing of a value's attribute."""
    shares, there = [], []
    for group in range(groups):
        member = (labels == group).astype(np.float64)
        totals = weights.T @ member
        shares.append((counted.T @ member) / np.maximum(totals, 1.0))
        there.append(totals > 0)
    found = [np.where(there[0] & there[new], shares[new] - shares[0], 0.0) for new in range(1, groups)]
    return np.concatenate(found).T
