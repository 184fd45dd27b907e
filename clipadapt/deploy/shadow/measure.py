"""Pairs -> rows: how alike the answers are, how often the candidate fails, how long it takes, which clicks it keeps.

    found = measure(pairs, k=10)
    found.rows                  # Row(task="shadow", metric="overlap", k=10, ...), of segments as "shadow@kind=text"
    found.moved                 # the queries whose answers are least alike

overlap, rank_biased_overlap, same_first    means over queries that both answered
failed                                      share of queries that the candidate gave no answer to
latency_ratio                               the candidate's mean time over the current release's
kept_clicks                                 share of the clicked items that the candidate's k best hold

A gate decides; another model is expected to answer otherwise, so little agreement is no fault by itself. Clicks favour
what was shown, which was the current release's answer: read kept_clicks as what would be lost, never as what is won.
Intervals are clustered by user. Nothing here reads a file.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.deploy.shadow.pairs import Pair, Pairs
from clipadapt.metrics.agreement import overlap, rank_biased_overlap
from clipadapt.metrics.bootstrap import interval_of_draws
from clipadapt.metrics.intervals import Sample
from clipadapt.statistics.rows import Row
from clipadapt.statistics.sampling import Sampler

TASK = "shadow"
_MOVED = 20
_DRAWS, _AT_ONCE = 2_000, 100


class Moved(NamedTuple):
    """A query whose answers differ much."""

    pair: Pair
    agreement: float
    """Rank-biased overlap."""


class Shadow(NamedTuple):
    """Everything that is reported."""

    rows: tuple[Row, ...]
    moved: tuple[Moved, ...]
    releases: tuple[str, str]
    k: int
    percentiles: dict[str, tuple[float, float]]
    """Release -> median and 99th percentile of its milliseconds; those that were timed."""
    notes: tuple[str, ...]


def measure(pairs: Pairs, *, k: int = 10, seed: int = 0) -> Shadow:
    """All rows: over all queries, and over each kind of query that has at least two users."""
    found = _Measure(pairs.pairs, pairs.releases[1], k, seed)
    rows = found.rows(TASK, np.arange(len(pairs.pairs)))
    segments: dict[str, list[int]] = {}
    for number, pair in enumerate(pairs.pairs):
        for name in (f"kind={pair.kind}", f"filtered={'yes' if pair.filtered else 'no'}"):
            segments.setdefault(name, []).append(number)
    for name, members in sorted(segments.items()):
        if len(members) < len(pairs.pairs):
            rows += found.rows(f"{TASK}@{name}", np.array(members))
    answered = np.flatnonzero(~found.failed)
    order = answered[np.argsort(found.agreement[answered], kind="stable")][:_MOVED]
    moved = tuple(Moved(pairs.pairs[number], float(found.agreement[number])) for number in order.tolist())
    changed = tuple(one for one in moved if one.agreement < 1)
    return Shadow(tuple(rows), changed, pairs.releases, k, found.percentiles(pairs.releases), tuple(pairs.notes))


class _Measure:
    """Scores of every pair, computed once."""

    def __init__(self, pairs: Sequence[Pair], system: str, k: int, seed: int) -> None:
        self.system, self.k, self.seed = system, k, seed
        self.users = np.array([pair.user or f"query {pair.query_id}" for pair in pairs], np.str_)
        self.failed = np.array([pair.candidate.error is not None for pair in pairs], bool)
        self.agreement = self._scores(pairs, lambda one, other: rank_biased_overlap(one[:k], other[:k]))
        self.overlap = self._scores(pairs, lambda one, other: overlap(one, other, k))
        self.first = self._scores(pairs, lambda one, other: float(one[:1] == other[:1]))
        self.times = np.array([(_time(pair.current.took_ms), _time(pair.candidate.took_ms)) for pair in pairs])
        clicks = [(number, item) for number, pair in enumerate(pairs) for item in sorted(pair.clicked)]
        self.clicks = np.array([number for number, _ in clicks], np.int64)
        """Row of each clicked item's query."""
        self.kept = np.array([item in pairs[number].candidate.items[:k] for number, item in clicks], np.float64)

    def rows(self, task: str, members: np.ndarray) -> list[Row]:
        """Of some queries."""
        answered = members[~self.failed[members]]
        clicks = np.flatnonzero(np.isin(self.clicks, answered))
        made = [
            self._row(task, "overlap", self.k, self.overlap[answered], self.users[answered]),
            self._row(task, "rank_biased_overlap", self.k, self.agreement[answered], self.users[answered]),
            self._row(task, "same_first", None, self.first[answered], self.users[answered]),
            self._row(task, "failed", None, self.failed[members].astype(np.float64), self.users[members]),
            self._row(task, "kept_clicks", self.k, self.kept[clicks], self.users[self.clicks[clicks]]),
            self._latency(task, answered),
        ]
        return [row for row in made if row is not None]

    def percentiles(self, releases: tuple[str, str]) -> dict[str, tuple[float, float]]:
        """Of each release's times."""
        found = {}
        for release, times in zip(releases, self.times.T, strict=True):
            timed = times[~np.isnan(times)]
            if len(timed):
                found[release] = (float(np.median(timed)), float(np.quantile(timed, 0.99)))
        return found

    def _scores(self, pairs: Sequence[Pair], score: Callable[..., float]) -> Float[np.ndarray, " queries"]:
        return np.array([score(pair.current.items, pair.candidate.items) for pair in pairs], np.float64)

    def _row(self, task: str, metric: str, k: int | None, scores: np.ndarray, users: np.ndarray) -> Row | None:
        if not len(scores):
            return None
        distinct = len(np.unique(users))
        low, high = None, None
        if distinct > 1:
            _, low, high = Sample(np.zeros(len(scores), np.int64), users).interval(scores)
        return self._of(task, metric, k, len(scores), distinct, float(scores.mean()), low, high)

    def _latency(self, task: str, members: np.ndarray) -> Row | None:
        """The ratio of mean times; an interval of ratios comes from draws over users."""
        members = members[~np.isnan(self.times[members]).any(axis=1)]
        if not len(members) or self.times[members, 0].sum() <= 0:
            return None
        names, place = np.unique(self.users[members], return_inverse=True)
        sums = np.stack([np.bincount(place, self.times[members, side]) for side in (0, 1)], axis=1)
        ratio = float(sums[:, 1].sum() / sums[:, 0].sum())
        low, high = None, None
        if len(names) > 1:
            sampler = Sampler(names, draws=_DRAWS, swaps=1, seed=self.seed)
            parts = [
                sampler.weights(np.arange(len(names)), slice(start, start + _AT_ONCE)).T.astype(np.float64) @ sums
                for start in range(0, _DRAWS, _AT_ONCE)
            ]
            drawn = np.concatenate(parts)
            effective = len(members) ** 2 / float((np.bincount(place).astype(float) ** 2).sum())
            if effective >= 2:
                draws = drawn[:, 1] / drawn[:, 0]
                _, low, high = interval_of_draws(draws, ratio, effective, bounds=(0.0, np.inf))
        return self._of(task, "latency_ratio", None, len(members), len(names), ratio, low, high)

    def _of(
        self, task: str, metric: str, k: int | None, n: int, users: int, mean: float, low: float | None,
        high: float | None,
    ) -> Row:  # fmt: skip
        return Row(task, None, None, "all", metric, k, self.system, "live", n, users, mean, low, high)


def _time(took_ms: float | None) -> float:
    return np.nan if took_ms is None else took_ms
