"""Evidence: a figure of every system as it was measured, as it came out under each draw, and under each swap.

    Drawn.mean_of([one, other])                      # means of figures keep what the figures share
    gallery_evidence(...)                            # of one text query, per ranking metric
    totals_evidence(...)                             # of any function of sums over items, such as macro F1

Draws are Bayesian bootstrap weights over products, swaps exchange the two systems product by product; both come from
one Sampler, so evidence may be averaged and compared. Nothing here turns evidence into intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.evaluation.galleries import Figure, ranked, reweighed, swapped
from clipadapt.evaluation.sampling import Sampler

_LARGE = 50_000
"""Items whose summed weight is taken for their number: off by less than 0.5%."""
_PART = 8_192
"""Items whose weights are held at once where all items are summed."""


class Drawn(NamedTuple):
    """One figure; differences are the first system minus the second."""

    points: dict[str, float]
    draws: dict[str, Float[np.ndarray, " draws"]]
    null: Float[np.ndarray, " swaps"] | None
    """Differences under swaps; null for a lone system."""

    @classmethod
    def mean_of(cls, some: Sequence["Drawn"]) -> Self:
        """The mean of figures, each counting alike."""
        systems = list(some[0].points)
        nulls = [one.null for one in some if one.null is not None]
        return cls(
            {system: float(np.mean([one.points[system] for one in some])) for system in systems},
            {system: np.mean([one.draws[system] for one in some], axis=0) for system in systems},
            np.mean(nulls, axis=0) if nulls else None,
        )


def gallery_evidence(
    orders: Mapping[str, Int[np.ndarray, " depth"]],
    relevant: Bool[np.ndarray, " gallery"],
    gallery: Int[np.ndarray, " gallery"],
    sampler: Sampler,
    wanted: Sequence[Figure],
) -> dict[Figure, Drawn]:
    """What every ranking metric says of one query's rankings; differences are the first system's minus the second's.

    Args:
        orders: system -> places in the gallery, best first.
        gallery: rows of the catalogue.
    """
    total = int(relevant.sum())
    scale = len(gallery) / _weight(gallery, sampler)
    relevant_weight = _weight(gallery[relevant], sampler)
    points, draws = {}, {}
    for system, order in orders.items():
        found = relevant[order]
        points[system] = ranked(found[None], np.array([total])).measure(wanted)
        weights = sampler.weights(gallery[order])
        draws[system] = reweighed(found, weights, relevant_weight, scale).measure(wanted)
    null = _swapped(orders, relevant, gallery, sampler, wanted) if len(orders) == 2 else None
    return {
        figure: Drawn(
            {system: float(points[system][figure][0]) for system in orders},
            {system: draws[system][figure] for system in orders},
            None if null is None else null[figure],
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
    ranks = []
    for order in orders.values():
        own = np.full(len(gallery), len(order), np.int64)
        own[order] = np.arange(len(order))
        ranks.append(own)
    reached = np.flatnonzero(np.isin(np.arange(len(gallery)), np.concatenate(list(orders.values()))))
    first, second = swapped(
        ranks[0][reached],
        ranks[1][reached],
        relevant[reached],
        int(relevant.sum()),
        sampler.swaps(gallery[reached]),
    )
    of_first, of_second = first.measure(wanted), second.measure(wanted)
    return {figure: of_first[figure] - of_second[figure] for figure in wanted}


def totals_evidence(
    totals: Mapping[str, Float[np.ndarray, "items sums"]],
    rows: Int[np.ndarray, " items"],
    sampler: Sampler,
    figure: Callable[[Float[np.ndarray, "columns sums"]], Float[np.ndarray, " columns"]],
) -> Drawn:
    """A figure that is a function of sums over items: each item's own contribution to the sums, per system.

    Args:
        rows: the catalogue rows of the items.
        figure: sums, a row for each draw, to the figure of each draw.
    """
    whole = {system: own.sum(axis=0, dtype=np.float64) for system, own in totals.items()}
    points = {system: float(figure(own[None])[0]) for system, own in whole.items()}
    draws = {system: figure(_summed(sampler.weights, rows, own)) for system, own in totals.items()}
    if len(totals) != 2:
        return Drawn(points, draws, None)
    first, second = totals
    moved = _summed(sampler.swaps, rows, totals[second] - totals[first])
    return Drawn(points, draws, figure(whole[first] + moved) - figure(whole[second] - moved))


def _summed(
    column: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, own: np.ndarray
) -> Float[np.ndarray, "columns sums"]:
    """Sums over items under each column of weights or swaps, some rows at a time."""
    parts = range(0, len(rows), _PART)
    return sum(
        (column(rows[start : start + _PART]).T.astype(np.float64) @ own[start : start + _PART] for start in parts),
        start=np.zeros(()),
    )


def _weight(rows: np.ndarray, sampler: Sampler) -> Float[np.ndarray, " #draws"]:
    """Summed weight of catalogue rows under every draw."""
    if len(rows) > _LARGE:
        return np.array([float(len(rows))])
    return sampler.weights(rows).sum(axis=0, dtype=np.float64)
