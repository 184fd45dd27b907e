"""Evidence: what a figure was measured from, in the form that its interval asks for.

    ClassMeans(scores, classes, rows, weights)       # scores of items: recognition, and queries that are items
    Rankings({"adapted": queries, "base": queries})  # average precision of given queries over a gallery
    gallery_evidence(...), totals_evidence(...)      # Resampled: any other figure, by bootstrap draws and swaps

Draws are Bayesian bootstrap weights over products, swaps exchange the two systems product by product; both come from
one Sampler, so resampled figures may be averaged and compared. Nothing here turns evidence into intervals.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from clipadapt.metrics.gallery import Query
from clipadapt.statistics.galleries import AVERAGE_PRECISION, Figure, ranked, reweighed, swapped
from clipadapt.statistics.sampling import Sampler

_LARGE = 50_000
"""Items whose summed weight is taken for their number: off by less than 0.5%."""
_SUMS = 1 << 22
"""Sums, or weights of items, held at once: 32 MB."""


class ClassMeans(NamedTuple):
    """Scores of items, of which a weighted mean of class means is taken: recall, balanced accuracy, item queries."""

    scores: dict[str, Float[np.ndarray, " cases"]]
    """System -> score of each case, in [0, 1]."""
    classes: Int[np.ndarray, " cases"]
    rows: Int[np.ndarray, " cases"]
    """Rows of the catalogue."""
    weights: Float[np.ndarray, " classes"]
    """Of the classes' means; they sum to 1, and 0 leaves a class out."""

    def mean(self, system: str) -> float:
        """The figure itself."""
        counts = np.maximum(np.bincount(self.classes, minlength=len(self.weights)), 1)
        sums = np.bincount(self.classes, self.scores[system], minlength=len(self.weights))
        return float(self.weights @ (sums / counts))


class Rankings(NamedTuple):
    """Rankings of given queries, of which the mean average precision is taken."""

    queries: dict[str, tuple[Query, ...]]
    """System -> the queries, alike in order; places are rows of the catalogue."""

    @classmethod
    def of(cls, some: Sequence["Rankings"]) -> Self:
        """All their queries, each counting alike."""
        return cls(
            {system: tuple(query for one in some for query in one.queries[system]) for system in some[0].queries}
        )

    def mean(self, system: str) -> float:
        """The figure itself."""
        found = [
            ranked(query.relevant[query.order][None], np.array([query.relevant.sum()])).measure([AVERAGE_PRECISION])
            for query in self.queries[system]
        ]
        return float(np.mean([one[AVERAGE_PRECISION][0] for one in found]))


class Resampled(NamedTuple):
    """Any other figure, under every draw and every swap; differences are the first system minus the second."""

    points: dict[str, float]
    draws: dict[str, Float[np.ndarray, " draws"]]
    null: Float[np.ndarray, " swaps"] | None
    """Differences under swaps; null for a lone system."""
    products: float
    """How many products the figure rests on, in products of equal size."""

    @classmethod
    def mean_of(cls, some: Sequence["Resampled"]) -> Self:
        """The mean of figures that rest on different items, each counting alike."""
        systems = list(some[0].points)
        nulls = [one.null for one in some if one.null is not None]
        return cls(
            {system: float(np.mean([one.points[system] for one in some])) for system in systems},
            {system: np.mean([one.draws[system] for one in some], axis=0) for system in systems},
            np.mean(nulls, axis=0) if nulls else None,
            sum(one.products for one in some),
        )


def gallery_evidence(
    orders: Mapping[str, Int[np.ndarray, " depth"]],
    relevant: Bool[np.ndarray, " gallery"],
    gallery: Int[np.ndarray, " gallery"],
    sampler: Sampler,
    wanted: Sequence[Figure],
) -> dict[Figure, Resampled]:
    """What every ranking metric says of one query's rankings; differences are the first system's minus the second's.

    Args:
        orders: system -> places in the gallery, best first.
        gallery: rows of the catalogue.
    """
    total = int(relevant.sum())
    large = len(gallery) > _LARGE
    scale = np.ones(1) if large else len(gallery) / sampler.summed(gallery)
    relevant_weight = _weight(gallery[relevant], sampler)
    points, draws = {}, {}
    for system, order in orders.items():
        found = relevant[order]
        points[system] = ranked(found[None], np.array([total])).measure(wanted)
        # Most figures look at the top alone; so does their bootstrap, if the top weighs enough under every draw.
        top = min(_top(wanted, total), len(order))
        weights = sampler.weights(gallery[order[:top]])
        deepest = np.maximum(_deepest(wanted), relevant_weight * scale if _to_total(wanted) else 0.0)
        if top < len(order) and (weights.sum(axis=0, dtype=np.float64) * scale < deepest).any():
            top, weights = len(order), sampler.weights(gallery[order])
        draws[system] = reweighed(found[:top], weights, relevant_weight, scale).measure(wanted)
    null = _swapped(orders, relevant, gallery, sampler, wanted) if len(orders) == 2 else None
    return {
        figure: Resampled(
            {system: float(points[system][figure][0]) for system in orders},
            {system: draws[system][figure] for system in orders},
            None if null is None else null[figure],
            sampler.effective(gallery[relevant]),
        )
        for figure in wanted
    }


def _swapped(
    orders: Mapping[str, np.ndarray],
    relevant: np.ndarray,
    gallery: np.ndarray,
    sampler: Sampler,
    wanted: Sequence[Figure],
) -> dict[Figure, np.ndarray]:
    """Differences of the two systems after exchanging their ranks product by product."""
    total = int(relevant.sum())
    depth = max(len(order) for order in orders.values())
    top = min(_top(wanted, total), depth)
    while True:
        tops = [order[:top] for order in orders.values()]
        reached = np.unique(np.concatenate(tops))
        ranks = []
        for order in tops:
            of_gallery = np.full(len(gallery), len(order), np.int64)
            of_gallery[order] = np.arange(len(order))
            ranks.append(of_gallery[reached])
        swaps = sampler.swaps(gallery[reached])
        if top == depth or _filled(ranks, swaps, top) >= max(_deepest(wanted), total if _to_total(wanted) else 0):
            break
        top = depth
    first, second = swapped(ranks[0], ranks[1], relevant[reached], total, swaps)
    of_first, of_second = first.measure(wanted), second.measure(wanted)
    return {figure: of_first[figure] - of_second[figure] for figure in wanted}


def _deepest(wanted: Sequence[Figure]) -> int:
    """The largest k."""
    return max((k for _, k in wanted if k is not None), default=1)


def _to_total(wanted: Sequence[Figure]) -> bool:
    """Whether a figure looks as deep as there are relevant items."""
    return any(metric == "r_precision" for metric, _ in wanted)


def _top(wanted: Sequence[Figure], total: int) -> int:
    """How much of a ranking is looked at first: all of it for figures that may depend on any rank."""
    if {metric for metric, _ in wanted} & {"average_precision", "reciprocal_rank"}:
        return np.iinfo(np.int64).max
    return 4 * max(_deepest(wanted), total if _to_total(wanted) else 0) + 64


def _filled(ranks: Sequence[np.ndarray], swaps: Bool[np.ndarray, "items swaps"], top: int) -> int:
    """How many items at least stand among the first `top` of either ranking, whatever is swapped."""
    inside = [(standing < top)[:, None] for standing in ranks]
    first, second = (np.where(swaps, inside[1 - number], inside[number]).sum(axis=0) for number in (0, 1))
    return int(min(first.min(), second.min()))


def totals_evidence(
    totals: Mapping[str, csr_matrix],
    rows: Int[np.ndarray, " items"],
    sampler: Sampler,
    figure: Callable[[Float[np.ndarray, "columns sums"]], Float[np.ndarray, " columns"]],
) -> Resampled:
    """A figure that is a function of sums over items.

    Args:
        totals: system -> what each item adds to each sum, [items, sums]; sparse, so that thousands of sums of which an
            item adds to three cost no more than three.
        rows: the catalogue rows of the items.
        figure: sums, a row for each draw, to the figure of each draw.
    """
    whole = {system: np.asarray(per_item.sum(axis=0)).reshape(1, -1) for system, per_item in totals.items()}
    points = {system: float(figure(sums)[0]) for system, sums in whole.items()}
    draws = {
        system: np.concatenate([figure(sums) for sums in _summed(sampler.weights, sampler.draws, rows, per_item)])
        for system, per_item in totals.items()
    }
    if len(totals) != 2:
        return Resampled(points, draws, None, sampler.effective(rows))
    first, second = totals
    moved = _summed(sampler.swaps, sampler.permutations, rows, totals[second] - totals[first])
    null = [figure(whole[first] + sums) - figure(whole[second] - sums) for sums in moved]
    return Resampled(points, draws, np.concatenate(null), sampler.effective(rows))


def _summed(
    column: Callable[[np.ndarray, slice], np.ndarray], columns: int, rows: np.ndarray, per_item: csr_matrix
) -> Iterator[Float[np.ndarray, "columns sums"]]:
    """Sums over items under each column of weights or swaps, some columns at a time."""
    turned = per_item.T.tocsr()
    step = max(1, _SUMS // max(turned.shape[0], len(rows)))
    for start in range(0, columns, step):
        yield (turned @ column(rows, slice(start, start + step)).astype(np.float64)).T


def _weight(rows: np.ndarray, sampler: Sampler) -> Float[np.ndarray, " #draws"]:
    """Summed weight of catalogue rows under every draw."""
    if len(rows) > _LARGE:
        return np.array([float(len(rows))])
    return sampler.weights(rows).sum(axis=0, dtype=np.float64)
