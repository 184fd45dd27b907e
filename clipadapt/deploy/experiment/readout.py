"""Both arms' figures with intervals that may be read every day, and what they say in one sentence.

    readout = measure(exposures, share=0.5, lift=0.1)
    readout.verdict              # "better", "worse", "unclear" or "invalid"
    readout.sentence()

A figure is a mean of scores in [0, 1], clustered by user. One of them decides; the others are shown beside it, each
with an interval of its own, and decide nothing. Where the users did not come in at the share that the flag gave, no
difference means anything: something keeps the users of one arm from being seen. Nothing here reads a file.
"""

import datetime
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

from clipadapt.deploy.experiment.exposures import Exposures
from clipadapt.errors import UsageError
from clipadapt.metrics.arms import ArmMean, arm_mean
from clipadapt.metrics.sequential import AlwaysValid, difference, information_needed, mismatch_p

Metric = Literal["click_through", "click_through_by_position", "success", "reciprocal_rank"]
METRICS: dict[Metric, str] = {
    "click_through": "click-through rate",
    "click_through_by_position": "click-through rate at equal positions",
    "success": "queries with a click",
    "reciprocal_rank": "reciprocal rank of the uppermost click",
}
Verdict = Literal["better", "worse", "unclear", "invalid"]
MISMATCH = 0.01
"""p of the users' shares at which nothing is concluded any more."""
_FAR = 50
"""Positions from here on count as one, for few look so far."""


class Figure(NamedTuple):
    """One metric of both arms on the days so far."""

    metric: Metric
    current: ArmMean
    candidate: ArmMean
    difference: AlwaysValid | None
    """null: too few users clicked for an interval."""


class Look(NamedTuple):
    """The deciding metric as it stood at the end of a day."""

    day: datetime.date
    users: int
    difference: AlwaysValid | None


class Readout(NamedTuple):
    """Everything that is reported."""

    releases: tuple[str, str]
    decides: Metric
    figures: tuple[Figure, ...]
    looks: tuple[Look, ...]
    users: tuple[int, int]
    """Of the current release and of the candidate."""
    share: float | None
    mismatch_p: float | None
    """Of the users' shares; null where the planned share is not known."""
    lift: float
    level: float
    users_needed: int | None
    """Of both arms together, to see a difference of `lift` four times out of five."""
    notes: tuple[str, ...]

    @property
    def decisive(self) -> Figure:
        """The figure that the verdict rests on."""
        return next(one for one in self.figures if one.metric == self.decides)

    @property
    def verdict(self) -> Verdict:
        """What may be concluded now."""
        if self.mismatch_p is not None and self.mismatch_p < MISMATCH:
            return "invalid"
        found = self.decisive.difference
        if found is None or found.low <= 0 <= found.high:
            return "unclear"
        return "better" if found.low > 0 else "worse"

    def sentence(self) -> str:
        """The verdict in words."""
        current, candidate = self.releases
        users, name = sum(self.users), METRICS[self.decides]
        if self.verdict == "invalid":
            part = self.users[1] / users
            return (
                f"Nothing can be concluded: {candidate} got {part:.1%} of {users:,} users instead of {self.share:.1%} "
                f"(p {self.mismatch_p:.1g}), so users of one arm are missing. Find out which before reading on."
            )
        found = self.decisive.difference
        if found is None:
            return f"Too few of {users:,} users have clicked to compare {candidate} with {current}; go on."
        old, new = self.decisive.current.mean, self.decisive.candidate.mean
        figures = (
            f"{name} {new:.2%} with {candidate}, {old:.2%} with {current}: {_signed(found.delta)} points "
            f"[{_signed(found.low)}, {_signed(found.high)}], {users:,} users"
        )
        more = f" A lift of {self.lift:.0%} needs about {self.users_needed:,} users." if self.users_needed else ""
        ends = {
            "better": " The candidate is better.",
            "worse": " The candidate is worse.",
            "unclear": f" Unclear.{more}",
        }
        return f"{figures[0].upper()}{figures[1:]}.{ends[self.verdict]}"


def measure(
    exposures: Exposures,
    *,
    share: float | None = None,
    decides: Metric = "click_through",
    lift: float = 0.1,
    level: float = 0.05,
) -> Readout:
    """All figures, at the end of every day and now.

    Args:
        share: of users that the flag gave to the candidate; null: not known, and not checked.
        decides: the metric of the verdict.
        lift: relative difference that one hopes for; fixed before the first look, it sets where intervals are tightest.
        level: chance that any look of all leaves out the true difference.

    Raises:
        UsageError: an arm with fewer than two users.
    """
    users = (int((~exposures.candidate).sum()), int(exposures.candidate.sum()))
    if min(users) < 2:
        raise UsageError(f"the arms have {users[0]} and {users[1]} user(s); a comparison needs two of each at least")
    days = exposures.days
    last = days[-1]
    looks = []
    for day in days:  # on the others nothing changed
        figure = _figure(exposures, decides, day, lift, level)
        moment = exposures.first_day + datetime.timedelta(day)
        count = figure.current.users + figure.candidate.users if figure else 0
        looks.append(Look(moment, count, figure.difference if figure else None))
    figures = [figure for metric in get_args(Metric) if (figure := _figure(exposures, metric, last, lift, level))]
    planned = share if share is not None and 0 < share < 1 else None
    found = next(one for one in figures if one.metric == decides)
    return Readout(
        exposures.releases, decides, tuple(figures), tuple(looks), users, share,
        mismatch_p(exposures.candidate, planned) if planned is not None else None, lift, level,
        _users_needed(found, lift, level), tuple(exposures.notes),
    )  # fmt: skip


def _figure(exposures: Exposures, metric: Metric, day: int, lift: float, level: float) -> Figure | None:
    """A metric over the days up to one; null while an arm has fewer than two users."""
    cells = _cells(exposures, metric, day)
    side = exposures.candidate[cells.users]
    if min(len(np.unique(cells.users[side])), len(np.unique(cells.users[~side]))) < 2:
        return None
    weights = None
    if metric == "click_through_by_position":
        cells, side, weights = _standardised(cells, side)
        if weights is None:
            return None
    current, candidate = (
        arm_mean(cells.scores[arm], cells.counts[arm], cells.users[arm], cells.classes[arm], weights)
        for arm in (~side, side)
    )
    expected = lift * current.mean
    found = difference(candidate, current, expected=expected, level=level) if expected > 0 else None
    return Figure(metric, current, candidate, found)


class _Cells(NamedTuple):
    scores: Float[np.ndarray, " cells"]
    counts: Float[np.ndarray, " cells"]
    users: Int[np.ndarray, " cells"]
    classes: Int[np.ndarray, " cells"]


def _cells(exposures: Exposures, metric: Metric, day: int) -> _Cells:
    """Scores and counts of the days up to one, summed by user, and by position where that matters."""
    shown = exposures.shown
    there = shown.day <= day
    user, query, position = shown.user[there], shown.query[there], shown.position[there]
    clicked = (shown.clicked[there] <= day).astype(np.float64)
    if metric in ("success", "reciprocal_rank"):
        score = clicked if metric == "success" else clicked / np.maximum(position, 1)
        _, first, place = np.unique(query, return_index=True, return_inverse=True)
        best = np.zeros(len(first))
        np.maximum.at(best, place, score)
        user, clicked, position = user[first], best, np.ones(len(first), np.int64)
    classes = np.minimum(position, _FAR) if metric == "click_through_by_position" else np.zeros(len(user), np.int64)
    key, place = np.unique(user * (_FAR + 1) + classes, return_inverse=True)
    return _Cells(np.bincount(place, clicked), np.bincount(place).astype(float), key // (_FAR + 1), key % (_FAR + 1))


def _standardised(cells: _Cells, side: np.ndarray) -> tuple[_Cells, np.ndarray, np.ndarray | None]:
    """Cells at positions that both arms showed, and each position's share of what both showed together."""
    old, new = (np.bincount(cells.classes[arm], cells.counts[arm], minlength=_FAR + 1) for arm in (~side, side))
    common = (old > 0) & (new > 0)
    kept = common[cells.classes]
    cells, side = _Cells(*(column[kept] for column in cells)), side[kept]
    if min(len(np.unique(cells.users[arm])) for arm in (side, ~side)) < 2:
        return cells, side, None
    weights = np.where(common, old + new, 0.0)
    return cells, side, weights / weights.sum()


def _users_needed(figure: Figure, lift: float, level: float) -> int | None:
    expected = lift * figure.current.mean
    variance = figure.current.variance + figure.candidate.variance
    if expected <= 0 or variance <= 0:
        return None
    times = information_needed(expected, level) * variance
    return int(np.ceil((figure.current.users + figure.candidate.users) * times))


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.2f}".replace("-", "−")
