"""Ranking metrics of a gallery whose items weigh more or less: what a bootstrap over the gallery's products needs.

A text that asks for striped things has no sampling error of its own; the gallery has. So each draw weighs the gallery's
products anew and every metric is read off the reweighed ranking: an item of weight 2 stands where two copies would
stand, and k and the number of relevant items are counted in weight. With weights of 1 each metric is the textbook one.
The trade: only places of relevant items are looked at, and what lies below a ranking's depth counts as never found.
Nothing here knows of models, attributes or intervals.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped

RankingMetric = Literal["precision", "r_precision", "average_precision", "ndcg", "reciprocal_rank", "recall_at"]
AT_K: frozenset[str] = frozenset({"precision", "ndcg", "recall_at"})
"""Ranking metrics that are measured at each k."""

Figure = tuple[RankingMetric, int | None]
"""A ranking metric and its k, None where it has none."""


AVERAGE_PRECISION: Figure = ("average_precision", None)


def figures(metrics: Sequence[RankingMetric], ks: Sequence[int]) -> list[Figure]:
    """Every metric with each k it takes."""
    return [(metric, k) for metric in metrics for k in (ks if metric in AT_K else (None,))]


class Placed(NamedTuple):
    """Where the relevant items of a query stand, best first, once for each column (a draw, a swap, a query)."""

    before: Shaped[np.ndarray, "relevant columns"]
    """Weight of everything ranked above the item: its rank, from 0, where all weigh 1; infinite: not ranked."""
    weights: Float[np.ndarray, "relevant #columns"]
    total: Float[np.ndarray, " #columns"]
    """Weight of all relevant items, also of those below the ranking's depth; positive."""

    def measure(self, wanted: Sequence[Figure]) -> dict[Figure, Float[np.ndarray, " columns"]]:
        """Every wanted figure per column; 0 where nothing relevant was ranked."""
        if not len(self.before):
            return dict.fromkeys(wanted, np.zeros(self.before.shape[1]))
        return {(metric, k): _METRICS[metric](self, k).astype(np.float64) for metric, k in wanted}

    def found(self, depth: Float[np.ndarray, " #columns"] | float) -> Float[np.ndarray, " columns"]:
        """Relevant weight within the first `depth`."""
        return np.clip(depth - self.before, 0.0, self.weights).sum(axis=0)


def ranked(relevant: Bool[np.ndarray, "queries depth"], total: Int[np.ndarray, " queries"]) -> Placed:
    """Plain rankings, a column for each query; all weigh 1."""
    places = np.where(relevant, np.arange(relevant.shape[1]), np.inf)
    most = int(relevant.sum(axis=1).max(initial=0))
    return Placed(np.sort(places, axis=1)[:, :most].T, np.ones((most, 1)), total.astype(np.float64))


def reweighed(
    relevant: Bool[np.ndarray, " depth"],
    weights: Float[np.ndarray, "depth draws"],
    total: Float[np.ndarray, " draws"],
    scale: Float[np.ndarray, " draws"],
) -> Placed:
    """One ranking under every draw.

    Args:
        relevant: of the ranked items, best first.
        weights: of the ranked items.
        total: weight of all relevant items of the gallery.
        scale: what makes the weights of the gallery add up to its number of items.
    """
    ranks = np.flatnonzero(relevant)
    of_relevant = weights[ranks]
    between = np.add.reduceat(weights, ranks, axis=0) if len(ranks) else of_relevant
    between[1:] = np.cumsum(between, axis=0)[:-1]
    between[:1] = 0.0
    before = between + weights[: ranks[0] if len(ranks) else 0].sum(axis=0)
    return Placed(before * scale, of_relevant * scale, total * scale)


def swapped(
    first: Int[np.ndarray, " items"],
    second: Int[np.ndarray, " items"],
    relevant: Bool[np.ndarray, " items"],
    total: int,
    swaps: Bool[np.ndarray, "items swaps"],
) -> tuple[Placed, Placed]:
    """Two systems' rankings of the same items after they changed places where `swaps` says so, for every swap.

    `first` and `second` are ranks, those of unranked items the depth. Of items that end on one rank the relevant come
    first, in both rankings alike.
    """
    wide = np.uint16 if 2 * max(first.max(), second.max()) + 1 < 2**16 else np.uint32
    keys = [(2 * ranks + ~relevant).astype(wide) for ranks in (first, second)]  # the lowest bit: not relevant
    exchange = np.negative(swaps.T.astype(wide)) & (keys[0] ^ keys[1])
    alike = np.ones((int(relevant.sum()), 1)), np.array([float(total)])
    return Placed(_places(keys[0] ^ exchange), *alike), Placed(_places(keys[1] ^ exchange), *alike)


def _places(keys: Integer[np.ndarray, "swaps items"]) -> Int[np.ndarray, "relevant swaps"]:
    """Where keys whose lowest bit is 0 stand after sorting each row; numpy sorts 16 bits with vector instructions."""
    order = np.sort(keys, axis=1)
    at = np.flatnonzero((order & 1) == 0)
    return (at % keys.shape[1]).reshape(len(keys), -1).T


def _precision(placed: Placed, k: int | None) -> np.ndarray:
    return placed.found(float(k or 1)) / (k or 1)


def _recall_at(placed: Placed, k: int | None) -> np.ndarray:
    return placed.found(float(k or 1)) / placed.total


def _r_precision(placed: Placed, _: int | None) -> np.ndarray:
    return placed.found(placed.total) / placed.total


def _average_precision(placed: Placed, _: int | None) -> np.ndarray:
    """Precision in the middle of each relevant item's copies, which for a weight of 1 is the item itself."""
    middle = (placed.weights + 1.0) / 2
    above = np.cumsum(placed.weights, axis=0) - placed.weights
    return (placed.weights * (above + middle) / (placed.before + middle)).sum(axis=0) / placed.total


def _ndcg(placed: Placed, k: int | None) -> np.ndarray:
    ranks = np.arange((k or 1) + 1)
    discounts = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(ranks[1:] + 1.0))])
    last = int((placed.before < ranks[-1]).any(axis=1).sum())
    before, weights = placed.before[:last], placed.weights[:last]
    gained = np.interp(before + weights, ranks, discounts) - np.interp(before, ranks, discounts)
    return gained.sum(axis=0) / np.interp(placed.total, ranks, discounts)


def _reciprocal_rank(placed: Placed, _: int | None) -> np.ndarray:
    return 1.0 / (placed.before[0] + 1.0)


_METRICS: dict[RankingMetric, Callable[[Placed, int | None], np.ndarray]] = {
    "precision": _precision,
    "recall_at": _recall_at,
    "r_precision": _r_precision,
    "average_precision": _average_precision,
    "ndcg": _ndcg,
    "reciprocal_rank": _reciprocal_rank,
}
