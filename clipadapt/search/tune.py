"""Which factory and which search parameters: chosen by measuring candidates against exact search on the vectors.

    tuned = choose_params(engine, "IVF1024,SQ8,RFlat", Target(recall=0.99), texts)
    chosen = choose(vectors, Target(memory_mb=200), texts)

Every candidate is built on all vectors, since recall at a tenth of the size says little about recall at the whole: the
trade is minutes. What was measured is kept, chosen or not. Knows nothing of files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from clipadapt.errors import UsageError, listing
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.factory import check_factory, choose_factory
from clipadapt.search.items import ID, PRODUCT, Items
from clipadapt.search.mapped import Rows
from clipadapt.search.meta import Measured, Target
from clipadapt.search.recall import (
    KINDS,
    Kind,
    Point,
    Searched,
    choose_point,
    curve,
    measure,
    picture_queries,
    with_truth,
)
from clipadapt.search.vectors import Vectors, first
from clipadapt.search.views import Texts
from clipadapt.towers.protocol import Encoder

QUERIES = 300
"""Queries of each kind that are measured: recall is then known to about half a point."""
_GRAPHS = 200_000
"""Vectors above which a graph is not a candidate unless it is named: building takes longer than everything else."""


class Tuned(NamedTuple):
    """What was measured of one factory, and the search parameters that follow from it."""

    engine: Engine
    factory: str
    search_params: dict[Kind, SearchParams]
    measured: dict[Kind, Measured]
    points: list[Point]
    """The whole curve."""
    memory: int
    """Bytes in memory when mapped."""

    def chosen(self, kind: Kind) -> Point | None:
        """The point that searches of a kind are made at; None where it was not measured."""
        at = self.search_params[kind]
        return next((point for point in self.points if point.kind == kind and point.params == at), None)


def choose_params(
    engine: Engine, factory: str, target: Target, texts: Float[np.ndarray, "texts dim"], seed: int = 0
) -> Tuned:
    """The quickest search parameters for each kind of query that reach the target; a kind without queries is left out.

    Without text queries, words are searched for with four times the pictures' `probe`: they lie further off.
    """
    chosen = measured_params(engine, factory, target, texts, seed)
    engine.set_default_params(chosen.search_params["picture"])
    return Tuned(engine, factory, chosen.search_params, chosen.measured, chosen.points, engine.memory())


class Chosen(NamedTuple):
    """Search parameters, and what was measured."""

    search_params: dict[Kind, SearchParams]
    measured: dict[Kind, Measured]
    points: list[Point]


def measured_params(
    engine: Searched, factory: str, target: Target, texts: Float[np.ndarray, "texts dim"], seed: int = 0
) -> Chosen:
    """As `choose_params`, of any engine."""
    points: list[Point] = []
    search_params: dict[Kind, SearchParams] = {kind: SearchParams(1, 1) for kind in KINDS}
    measured: dict[Kind, Measured] = {}
    if engine.count:
        queries = [picture_queries(engine, np.arange(engine.count), QUERIES, seed)]
        queries += [with_truth(engine, "text", texts[:QUERIES])] if len(texts) else []
        for one in queries:
            along = curve(engine, factory, one, target.recall)
            best = choose_point(along, target.recall)
            points += along
            search_params[one.kind] = best.params
            measured[one.kind] = _as_measured(best, len(one.vectors), engine.count)
        if "text" not in measured:
            search_params["text"] = SearchParams(4 * search_params["picture"].probe, search_params["picture"].refine)
    return Chosen(search_params, measured, points)


def remeasure(
    engine: Engine,
    factory: str,
    search_params: dict[Kind, SearchParams],
    texts: Float[np.ndarray, "texts dim"],
    live: Integer[np.ndarray, " live"],
    seed: int = 0,
) -> dict[Kind, Measured]:
    """Recall with the search parameters in use, after the index has changed."""
    queries = [picture_queries(engine, live, QUERIES, seed)] if len(live) else []
    queries += [with_truth(engine, "text", texts[:QUERIES])] if len(texts) and engine.count else []
    points = ((one, measure(engine, factory, one, search_params[one.kind])) for one in queries)
    return {one.kind: _as_measured(point, len(one.vectors), engine.count) for one, point in points}


def candidates(count: int, dim: int, *, half: bool = False) -> list[str]:
    """Factories worth measuring for so many vectors, which come in half precision or not."""
    usual = choose_factory(max(count, 20_000), dim, half=half)
    cells = usual.split(",")[0]
    pieces = max(divisor for divisor in range(1, dim // 4 + 2) if dim % divisor == 0)
    exact = usual.rpartition(",")[2]
    others = [f"{cells},Flat", f"{cells},SQ8,{exact}", f"{cells},PQ{pieces},{exact}"]
    others += [f"{cells},PQ{dim // 4}x4fsr,{exact}"] if dim % 4 == 0 else []
    kinds = ["Flat"] if count <= _GRAPHS else []
    kinds += [usual, *(other for other in others if other != usual)] if count >= 2_000 else []
    return kinds + (["HNSW32,Flat"] if 2_000 <= count <= _GRAPHS else [])


def choose(
    vectors: Rows,
    target: Target,
    texts: Float[np.ndarray, "texts dim"],
    factories: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Tuned, list[Point]]:
    """The quickest factory for pictures that reaches every part of the target, and all that was measured.

    Raises:
        UsageError: none does; says how close each came. A factory that cannot be.
    """
    half = vectors.dtype == np.float16
    names = list(factories) if factories else candidates(len(vectors), vectors.shape[1], half=half)
    for name in names:
        check_factory(name, len(vectors), vectors.shape[1])
    best: Tuned | None = None
    points: list[Point] = []
    reports = []
    for name in names:
        tuned = choose_params(Engine.build(vectors, name, seed), name, target, texts, seed)
        points += tuned.points
        faults = shortfalls(tuned.measured, tuned.memory, _latency(tuned), target)
        if faults:
            reports.append(f"{name}: {', '.join(faults)}")
        elif best is None or _latency(tuned) < _latency(best):
            best = tuned
    if best is None:
        raise UsageError(
            f"no factory reaches the target:{listing(reports)}\nask for less, or name others with --factory"
        )
    return best, points


def text_queries(
    texts: Sequence[str] | Float[np.ndarray, "texts dim"] | None,
    source: Vectors,
    encoder: Encoder | None,
    seed: int = 0,
) -> Float[np.ndarray, "texts dim"]:
    """Vectors of text queries that recall is measured with, in as many dimensions as the source's; none where there is
    no text tower to encode them.

    Args:
        texts: queries, or their vectors; None makes some up from the items' values.
    """
    dim = source.vectors.shape[-1]
    if isinstance(texts, np.ndarray):
        vectors = np.ascontiguousarray(texts, np.float32)
    else:
        queries = list(texts) if texts is not None else sample_texts(source.items, QUERIES, seed)
        if encoder is None or encoder.context_length is None or not queries:
            return np.empty((0, dim), np.float32)
        vectors = encoder.encode_texts(queries).cpu().numpy()
    return first(vectors, dim) if vectors.shape[1] == source.whole else vectors


def sample_texts(items: Items, count: int, seed: int = 0) -> list[str]:
    """Queries such as people type, from what is known of items: one to three of an item's values, in column order.

    Columns with a value of its own per item (names, numbers) are passed over; empty when nothing is left.
    """
    rng = np.random.default_rng(seed)
    most = max(2, items.rows // 2)
    views = [items.view(name) for name in items.columns if name not in (ID, PRODUCT)]
    words = [view for view in views if isinstance(view, Texts) and view.rows is None and 2 <= len(view.values) <= most]
    texts: dict[str, None] = {}
    for row in rng.permutation(np.flatnonzero(~items.removed))[: 4 * count]:
        known = [view.values[view.codes[row]] for view in words if view.codes[row] >= 0]
        if known:
            picked = np.sort(rng.permutation(len(known))[: rng.integers(1, 4)])
            texts[" ".join(known[place] for place in picked)] = None
    return list(texts)[:count]


def shortfalls(measured: dict[Kind, Measured], memory: int, latency: float, target: Target) -> list[str]:
    """Parts of a target that are not reached.

    Args:
        memory: bytes.
        latency: median of a picture query in ms.
    """
    faults = [
        f"recall@10 of {kind} queries {one.recall:.4f} (at least {one.low:.4f}) under {target.recall}"
        for kind, one in measured.items()
        if one.low < target.recall
    ]
    if target.memory_mb is not None and memory > target.memory_mb * 1e6:
        faults.append(f"{memory / 1e6:,.1f} MB in memory over {target.memory_mb:,.1f}")
    if target.latency_ms is not None and latency > target.latency_ms:
        faults.append(f"{latency:.2f} ms over {target.latency_ms}")
    return faults


def _latency(tuned: Tuned) -> float:
    point = tuned.chosen("picture")
    return point.p50_ms if point else 0.0


def _as_measured(point: Point, queries: int, vectors: int) -> Measured:
    return Measured(recall=point.recall, low=point.low, queries=queries, vectors=vectors)
