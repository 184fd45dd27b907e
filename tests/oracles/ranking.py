"""Ranking metrics per query, from which of the ranked items were relevant.

    found = ranked(scores, relevant)                 # [queries, depth], best first
    precision_at_k(found, 10), average_precision(found, total)

A ranking may be cut at any depth: a relevant item below it counts as never found, so `total`, the number of relevant
items in the whole gallery, is handed in. Ties are settled once, in `ranked`: equal scores are ordered against the
system, irrelevant items first, since a model that gives everything one score must not look perfect by luck of storage
order. (Search returns rankings already ordered; their ties were settled by the index.) Nothing here averages over
queries, and nothing here knows of vectors.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from clipadapt.errors import UsageError

Ranked = Bool[np.ndarray, "queries depth"]
Total = Int[np.ndarray, " queries"]
PerQuery = Float[np.ndarray, " queries"]


def ranked(scores: Shaped[np.ndarray, "queries items"], relevant: Bool[np.ndarray, "queries items"]) -> Ranked:
    """Relevance in order of falling score, ties against the system.

    Raises:
        ValueError: a score that is not a number, which has no place in an order.
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN: its item cannot be ranked")
    by_relevance = np.argsort(relevant, axis=1, kind="stable")
    moved = np.take_along_axis(scores, by_relevance, axis=1)
    # Stable, so that within a score the irrelevant keep coming first.
    order = np.take_along_axis(by_relevance, np.argsort(-moved, axis=1, kind="stable"), axis=1)
    return np.take_along_axis(relevant, order, axis=1)


def precision_at_k(found: Ranked, k: int) -> PerQuery:
    """Share of the first k places that hold a relevant item; places beyond the depth hold none."""
    return _first(found, k).sum(axis=1) / k


def recall_at_k(found: Ranked, total: Total, k: int) -> PerQuery:
    """Share of the relevant items within the first k; with one right answer per query, whether it is there."""
    return _first(found, k).sum(axis=1) / _checked(found, total)


def r_precision(found: Ranked, total: Total) -> PerQuery:
    """Precision at k = the query's own number of relevant items; 1 is reachable for every query.

    Source: Manning et al., "Introduction to Information Retrieval" (2008), section 8.4.
    """
    within = np.arange(found.shape[1]) < _checked(found, total)[:, None]
    return (found & within).sum(axis=1) / total


def average_precision(found: Ranked, total: Total) -> PerQuery:
    """Mean over all relevant items of the precision at their rank; 0 for those below the depth.

    Source: Manning et al. (2008), section 8.4; equals scikit-learn's average_precision_score where no scores tie.
    """
    precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
    return np.where(found, precision, 0.0).sum(axis=1) / _checked(found, total)


def ndcg_at_k(found: Ranked, total: Total, k: int) -> PerQuery:
    """Discounted cumulative gain of binary relevance, over that of a perfect ranking.

    Source: Jaervelin & Kekaelaeinen, "Cumulated gain-based evaluation of IR techniques" (2002); 1 / log2(1 + rank).
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    first = _first(found, k)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(_checked(found, total), k)]
    return first @ discounts[: first.shape[1]] / ideal


def reciprocal_rank(found: Ranked) -> PerQuery:
    """1 / rank of the first relevant item; 0 when none was ranked."""
    if found.shape[1] == 0:
        return np.zeros(len(found))
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def _first(found: Ranked, k: int) -> Bool[np.ndarray, "queries first"]:
    if k < 1:
        raise UsageError(f"k is {k}; a ranking is looked at to at least the first place")
    return found[:, :k]


def _checked(found: Ranked, total: Total) -> Total:
    """The number of relevant items, when it can be true."""
    if (total < 1).any():
        query = int(np.argmax(total < 1))
        raise UsageError(f"query {query} has no relevant item in the gallery, so it cannot be scored; leave it out")
    if (found.sum(axis=1) > total).any():
        query = int(np.argmax(found.sum(axis=1) > total))
        raise ValueError(f"query {query} found more relevant items than its total of {int(total[query])}")
    return total
