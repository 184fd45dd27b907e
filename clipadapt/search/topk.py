"""The k best items of every query by inner product: exact, in blocks, never the full query x item matrix.

The trade: items are read once, block by block, so a memory-mapped array larger than memory will do; what is held is one
block and queries x k results. It is the yardstick that approximate indexes and evaluation are measured against.
Knows nothing of models, products or files.
"""

from typing import NamedTuple

import faiss
import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from clipadapt.search.mapped import BLOCK, Rows, release


class TopK(NamedTuple):
    """Best first; a row with fewer than k candidates ends in index -1 and score -inf."""

    scores: Float[np.ndarray, "queries k"]
    indices: Int[np.ndarray, "queries k"]


def topk(
    queries: Float[np.ndarray, "queries dim"],
    items: Rows,
    k: int,
    *,
    allowed: Bool[np.ndarray, " items"] | None = None,
    exclude: Integer[np.ndarray, " queries"] | None = None,
    block: int = BLOCK,
) -> TopK:
    """Exact search by inner product; among equal scores the lower row comes first.

    Args:
        allowed: the items that may be found; all when not given.
        exclude: one row per query that it may not find, such as itself; -1 excludes nothing.

    Raises:
        ValueError: k below 1, or shapes that do not fit.
    """
    if k < 1 or queries.shape[1] != items.shape[1]:
        raise ValueError(f"k={k}, queries of {queries.shape[1]} and items of {items.shape[1]} dimensions")
    wide = np.ascontiguousarray(queries, np.float32)
    found = TopK(np.full((len(wide), k), -np.inf, np.float32), np.full((len(wide), k), -1, np.int64))
    for start in range(0, len(items), block):
        rows = np.arange(start, min(start + block, len(items)))
        if allowed is not None:
            rows = rows[allowed[rows]]
        if not len(rows) or not len(wide):
            continue
        whole = len(rows) == min(block, len(items) - start)
        part = items[start : start + block] if whole else items[rows]
        found = merged(found, _search(wide, np.ascontiguousarray(part, np.float32), rows, k, exclude), k)
        release(items)
    return found


def _search(queries: np.ndarray, part: np.ndarray, rows: np.ndarray, k: int, exclude: np.ndarray | None) -> TopK:
    """The best of one block, as rows of the whole; one more is asked for where one may have to go."""
    wanted = min(k + (exclude is not None), len(rows))
    scores, local = faiss.knn(queries, part, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    indices = np.where(local >= 0, rows[local], -1)
    if exclude is not None:
        excluded = indices == exclude[:, None]
        scores, indices = np.where(excluded, -np.inf, scores), np.where(excluded, -1, indices)
    return TopK(np.where(indices >= 0, scores, -np.inf).astype(np.float32), indices)


def merged(first: TopK, second: TopK, k: int) -> TopK:
    """The k best of two results; among equal scores the lower row comes first."""
    scores = np.concatenate([first.scores, second.scores], axis=1)
    indices = np.concatenate([first.indices, second.indices], axis=1)
    last = np.where(indices < 0, np.iinfo(np.int64).max, indices)
    order = np.lexsort((last, -scores), axis=1)[:, :k]
    return TopK(np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1))


def best_first(scores: np.ndarray, ids: np.ndarray) -> TopK:
    """What FAISS found: missing results score -inf, and ties go by row, as in topk."""
    scores = np.where(ids >= 0, scores, -np.inf).astype(np.float32)
    last = np.where(ids < 0, np.iinfo(np.int64).max, ids)
    order = np.lexsort((last, -scores), axis=1)
    return TopK(np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1))


def padded(found: TopK, k: int) -> TopK:
    """The same with k places."""
    missing = k - found.indices.shape[1]
    if not missing:
        return found
    sides = ((0, 0), (0, missing))
    return TopK(np.pad(found.scores, sides, constant_values=-np.inf), np.pad(found.indices, sides, constant_values=-1))
