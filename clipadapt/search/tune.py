"""Which factory and which effort: found by measuring candidates on the vectors at hand against exact search.

    tuned = settle_efforts(engine, "IVF1024,SQ8,RFlat", Target(recall=0.99), texts)
    chosen = choose(vectors, Target(memory_mb=200), texts)

Every candidate is built on all vectors, since recall at a tenth of the size says little about recall at the whole: the
trade is minutes. What was measured is kept, chosen or not. Knows nothing of files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from clipadapt.errors import UsageError, listing
from clipadapt.search.engine import Effort, Engine
from clipadapt.search.factory import check_factory, choose_factory
from clipadapt.search.items import ID, PRODUCT, Items, Texts
from clipadapt.search.meta import Measured, Target
from clipadapt.search.recall import KINDS, Kind, Point, curve, measure, probes, sample_rows, settle

QUERIES = 300
"""Queries of each kind that are measured: recall is then known to about half a point."""
_GRAPHS = 200_000
"""Vectors above which a graph is not a candidate unless it is named: building takes longer than everything else."""


class Tuned(NamedTuple):
    """What was measured of one factory, and the efforts that follow from it."""

    engine: Engine
    factory: str
    efforts: dict[Kind, Effort]
    measured: dict[Kind, Measured]
    points: list[Point]
    """The whole curve."""
    memory: int
    """Bytes in memory when mapped."""

    def chosen(self, kind: Kind) -> Point | None:
        """The point that searches of a kind are made at; None where it was not measured."""
        at = self.efforts[kind]
        return next((point for point in self.points if point.kind == kind and point.effort == at), None)


def settle_efforts(
    engine: Engine, factory: str, target: Target, texts: Float[np.ndarray, "texts dim"], seed: int = 0
) -> Tuned:
    """The quickest effort for each kind of query that reaches the target; texts that are none are not measured.

    Without text queries, words are searched for at four times the pictures' effort: they lie further off.
    """
    points: list[Point] = []
    efforts: dict[Kind, Effort] = {kind: Effort(1, 1) for kind in KINDS}
    measured: dict[Kind, Measured] = {}
    if engine.count:
        asked = [sample_rows(engine, np.arange(engine.count), QUERIES, seed)]
        asked += [probes(engine, "text", texts[:QUERIES])] if len(texts) else []
        for some in asked:
            along = curve(engine, factory, some, target.recall)
            best = settle(along, target.recall)
            points += along
            efforts[some.kind] = best.effort
            measured[some.kind] = _as_measured(best, len(some.vectors), engine.count)
        if "text" not in measured:
            efforts["text"] = Effort(4 * efforts["picture"].probe, efforts["picture"].refine)
    engine.prefer(efforts["picture"])
    return Tuned(engine, factory, efforts, measured, points, engine.memory())


def remeasure(
    engine: Engine,
    factory: str,
    efforts: dict[Kind, Effort],
    texts: Float[np.ndarray, "texts dim"],
    live: Integer[np.ndarray, " live"],
    seed: int = 0,
) -> dict[Kind, Measured]:
    """Recall at the efforts in use, after the index has changed."""
    asked = [sample_rows(engine, live, QUERIES, seed)] if len(live) else []
    asked += [probes(engine, "text", texts[:QUERIES])] if len(texts) and engine.count else []
    found = ((some, measure(engine, factory, some, efforts[some.kind])) for some in asked)
    return {some.kind: _as_measured(point, len(some.vectors), engine.count) for some, point in found}


def candidates(count: int, dim: int) -> list[str]:
    """Factories worth measuring for so many vectors."""
    usual = choose_factory(max(count, 20_000), dim)
    cells = usual.split(",")[0]
    pieces = max(divisor for divisor in range(1, dim // 4 + 2) if dim % divisor == 0)
    others = (f"{cells},Flat", f"{cells},SQ8,RFlat", f"{cells},PQ{pieces},RFlat")
    kinds = ["Flat"] if count <= _GRAPHS else []
    kinds += [usual, *(other for other in others if other != usual)] if count >= 2_000 else []
    return kinds + (["HNSW32,Flat"] if 2_000 <= count <= _GRAPHS else [])


def choose(
    vectors: Float[np.ndarray, "rows dim"],
    target: Target,
    texts: Float[np.ndarray, "texts dim"],
    factories: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Tuned, list[Point]]:
    """The quickest factory for pictures that reaches every part of the target, and all that was measured.

    Raises:
        UsageError: none does; says how close each came. A factory that cannot be.
    """
    names = list(factories) if factories else candidates(len(vectors), vectors.shape[1])
    for name in names:
        check_factory(name, len(vectors), vectors.shape[1])
    best: Tuned | None = None
    points: list[Point] = []
    reports = []
    for name in names:
        tuned = settle_efforts(Engine.build(vectors, name, seed), name, target, texts, seed)
        points += tuned.points
        faults = _shortfalls(tuned, target)
        if faults:
            reports.append(f"{name}: {', '.join(faults)}")
        elif best is None or _latency(tuned) < _latency(best):
            best = tuned
    if best is None:
        raise UsageError(
            f"no factory reaches the target:{listing(reports)}\nask for less, or name others with --factory"
        )
    return best, points


def sample_texts(items: Items, count: int, seed: int = 0) -> list[str]:
    """Queries such as people type, from what is known of items: one to three of an item's values, in column order.

    Columns with a value of its own per item (names, numbers) are passed over; empty when nothing is left.
    """
    rng = np.random.default_rng(seed)
    most = max(2, items.rows // 2)
    views = [items.view(name) for name in items.columns if name not in (ID, PRODUCT)]
    words = [view for view in views if isinstance(view, Texts) and view.rows is None and 2 <= len(view.values) <= most]
    found: dict[str, None] = {}
    for row in rng.permutation(np.flatnonzero(~items.removed))[: 4 * count]:
        known = [view.values[view.codes[row]] for view in words if view.codes[row] >= 0]
        if known:
            picked = np.sort(rng.permutation(len(known))[: rng.integers(1, 4)])
            found[" ".join(known[place] for place in picked)] = None
    return list(found)[:count]


def _shortfalls(tuned: Tuned, target: Target) -> list[str]:
    faults = [
        f"recall@10 of {kind} queries {found.recall:.4f} (at least {found.low:.4f}) under {target.recall}"
        for kind, found in tuned.measured.items()
        if found.low < target.recall
    ]
    if target.memory_mb is not None and tuned.memory > target.memory_mb * 1e6:
        faults.append(f"{tuned.memory / 1e6:,.1f} MB in memory over {target.memory_mb:,.1f}")
    if target.latency_ms is not None and _latency(tuned) > target.latency_ms:
        faults.append(f"{_latency(tuned):.2f} ms over {target.latency_ms}")
    return faults


def _latency(tuned: Tuned) -> float:
    point = tuned.chosen("picture")
    return point.p50_ms if point else 0.0


def _as_measured(point: Point, queries: int, vectors: int) -> Measured:
    return Measured(recall=point.recall, low=point.low, queries=queries, vectors=vectors)
