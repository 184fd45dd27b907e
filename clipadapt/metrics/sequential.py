"""Figures that may be read every day: intervals that stay valid, and a check of shares, whenever one stops.

    difference(candidate, current, expected=0.003)          # two means of arms.py -> an interval and its reach
    mismatch_p(in_candidate, share=0.5)                     # whether the users came in at the share they should have

An interval of 1.96 errors that is read on thirty days leaves out a true zero in far more than 5% of experiments. Here
the difference gets a normal prior around zero, with the size that one hopes for as its spread; the ratio of likelihoods
that follows exceeds 1 / level with at most that chance over all looks together. The prior only decides where the
interval is tightest: at about the number of users that a fixed sample would have needed for that difference. The trade:
there it is 1.5 times as wide as a fixed one.

Valid as the sum of differences becomes normal, if its increments do not pull against what was there before; users who
come back with the same taste pull the other way, which makes the looks more alike and the error rarer (Slepian, 1962).
eval/benchmarks/experiment_looks.py measures it.
Source: Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Statist. 41 (1970)
1397-1409; Johari, Koomen, Pekelis & Walsh, "Always valid inference", Oper. Res. 70 (2022) 1806-1821; for shares Lindon
& Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy.optimize import brentq
from scipy.special import betaln

from clipadapt.metrics.arms import ArmMean
from clipadapt.metrics.effective import quantile
from clipadapt.metrics.intervals import POWER

CONCENTRATION = 100.0
"""Users' worth of belief in the share as planned: shares that are off by a few points are expected to be the fault."""


LEAST_SCORING = 10
"""Users of each arm with any score above zero; below, the mean is far from normal and there is no interval."""


class AlwaysValid(NamedTuple):
    """Candidate minus current, at one look."""

    delta: float
    low: float
    high: float
    minimum_detectable: float
    """A true difference of this size would be seen at this look four times out of five."""


def difference(candidate: ArmMean, current: ArmMean, *, expected: float, level: float = 0.05) -> AlwaysValid | None:
    """Of two arms with different users; None while too few of them scored for an interval.

    Args:
        expected: the difference that one hopes for, above 0, fixed before the first look.
        level: chance that any look of all leaves out the true difference.
    """
    variance = candidate.variance + current.variance
    if min(candidate.scoring, current.scoring) < LEAST_SCORING or variance <= 0:
        return None
    error = float(np.sqrt(variance))
    reach = always_valid_quantile(1 / variance, expected, level)
    delta = candidate.mean - current.mean
    detectable = min((reach + quantile(1 - POWER, np.inf)) * error, 1.0)
    return AlwaysValid(delta, max(delta - reach * error, -1.0), min(delta + reach * error, 1.0), detectable)


def always_valid_quantile(information: float, expected: float, level: float = 0.05) -> float:
    """By how many standard errors the interval reaches to either side.

    Args:
        information: 1 / squared standard error of the difference, at this look.
        expected: the difference that one hopes for, fixed before the first look.
        level: chance that any look of all leaves out the true difference.

    Raises:
        ValueError: a negative or infinite figure.
    """
    ratio = expected**2 * information
    if not (0 < ratio < np.inf and 0 < level < 1):
        raise ValueError(f"information {information}, expected {expected}, level {level}: all above 0, level below 1")
    return float(np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) - 2 * np.log(level))))


def information_needed(expected: float, level: float = 0.05, power: float = POWER) -> float:
    """1 / squared standard error at which a true difference of that size is seen at one look with that chance."""
    reach = quantile(1 - power, np.inf)

    def short(log_information: float) -> float:
        information = float(np.exp(log_information))
        return expected * np.sqrt(information) - reach - always_valid_quantile(information, expected, level)

    middle = -2 * np.log(expected)
    root: Any = brentq(short, middle, middle + 12.0)
    return float(np.exp(root))


def mismatch_p(candidate: Bool[np.ndarray, " users"], share: float) -> float:
    """Of users coming in at the share that was planned; valid at whatever user one stops.

    Args:
        candidate: whether each user is the candidate's, in the order in which users were first seen.
        share: planned, in (0, 1).

    Raises:
        ValueError: a share of 0 or 1, of which there is nothing to test.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share:g} gives one arm nobody; there is nothing to test")
    if not len(candidate):
        return 1.0
    ones = np.cumsum(candidate)
    others = np.arange(1, len(candidate) + 1) - ones
    first, second = CONCENTRATION * share, CONCENTRATION * (1 - share)
    planned = ones * np.log(share) + others * np.log1p(-share)
    evidence = betaln(first + ones, second + others) - betaln(first, second) - planned
    return float(np.exp(-max(evidence.max(), 0.0)))
