"""The best items of a query that wishes for values, from candidates that Milvus finds: scores as in weighed.py.

Candidates are the most similar items, and the most similar of those that are labelled as wished. Wishes take away and
never add, so that the results are certain where the k-th score is above the last candidate's cosine; until then more
candidates are fetched, up to what one search of Milvus gives. Beyond those, an item of no known value may be missed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.search.backend import Hit
from clipadapt.search.items import Items
from clipadapt.search.milvus.expressions import NOTHING, holds, joined, lacks
from clipadapt.search.milvus.fields import Fields
from clipadapt.search.query import CompiledQuery
from clipadapt.search.understanding.vocabulary import Value
from clipadapt.search.wishes import Weigher, Wishes

MOST = 16_384
"""Results of one search that Milvus gives."""
SAMPLE = 2_048
"""Vectors by which the spread of cosines is judged, as weighed.py."""
_FIRST = 8
"""Candidates per result, to begin with."""


class Found(NamedTuple):
    """One row of a search: a hit, and its vector where it was asked for."""

    hit: Hit
    vector: Float[np.ndarray, " dim"] | None


Find = Callable[[int, str], list[Found]]
"""How many, and an expression -> rows, the most similar first."""


def wished(
    find: Find,
    query: CompiledQuery,
    k: int,
    allowed: str,
    items: Items,
    fields: Fields,
    sample: Float[np.ndarray, "some dim"],
    *,
    collapse: bool,
) -> list[Hit]:
    """Best first, with what wishes take off in their scores.

    Args:
        allowed: an expression that every result meets.
        items: the item table, of whose labels wishes speak.
        sample: some vectors of the index.
    """
    spread = max(float((sample @ query.vector).std()), 1e-6) if len(sample) else 1e-6
    weigher = Weigher(items, query.signals)
    pool: dict[str, tuple[Hit, float]] = {}

    def add(rows: Sequence[Found]) -> None:
        fresh = [row for row in rows if row.hit.id not in pool and items.holds(row.hit.id)]
        if not fresh:
            return
        vectors = np.zeros((len(fresh), len(query.vector)), np.float32)
        for place, row in enumerate(fresh):
            if row.vector is not None:
                vectors[place] = row.vector
        said = weigher.weigh(query.wishes, items.live_rows([row.hit.id for row in fresh]), vectors)
        for row, less in zip(fresh, said.tolist(), strict=True):
            pool[row.hit.id] = row.hit, row.hit.score + spread * less

    fetch = min(_FIRST * k, MOST)
    add(find(fetch, joined([allowed, as_wished(query.wishes, fields)])))
    while True:
        rows = find(fetch, allowed)
        add(rows)
        results = _results(pool, k, collapse)
        if len(rows) < fetch or fetch == MOST or (len(results) == k and results[-1].score >= rows[-1].hit.score):
            return results
        fetch = min(4 * fetch, MOST)


def as_wished(wishes: Wishes, fields: Fields) -> str:
    """Items that are labelled as wished; none where nothing is wished for that a label says."""
    groups = [joined([holds(fields.by_name[name], some) for name, some in _named(values, fields)], "or")
              for values in wishes.wanted]  # fmt: skip
    not_wanted = [lacks(fields.by_name[name], some) for name, some in _named(wishes.unwanted, fields)]
    return joined([*groups, *not_wanted]) or NOTHING


def _named(values: Sequence[Value], fields: Fields) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for name, value in values:
        if name in fields.by_name and fields.by_name[name].kind in ("text", "list"):
            found.setdefault(name, []).append(value)
    return list(found.items())


def _results(pool: dict[str, tuple[Hit, float]], k: int, collapse: bool) -> list[Hit]:
    kept: list[Hit] = []
    seen: set[str] = set()
    for hit, score in sorted(pool.values(), key=lambda one: (-one[1], one[0].id)):
        if hit.product not in seen:
            kept.append(hit._replace(score=score))
            seen |= {hit.product} if collapse else set()
        if len(kept) == k:
            break
    return kept
