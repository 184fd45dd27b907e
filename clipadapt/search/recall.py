"""Measured recall: what an approximate search finds of the exact ten best, for how long, and with which parameters.

Pictures and texts are measured apart: text vectors lie off the cloud of pictures that an index is trained on, so the
same parameters find less for them. The ones chosen are the quickest whose recall is above the target with 95%
certainty over the queries measured, not the quickest whose mean happens to be.
Knows nothing of items or files: an engine and query vectors in, points of a curve out.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Integer

from clipadapt.search.engine import AT, USUAL, SearchParams
from clipadapt.search.topk import TopK

Kind = Literal["picture", "text"]
KINDS: tuple[Kind, ...] = ("picture", "text")
_TIMED = 64
"""Queries searched one by one for the latency of a point."""
_MORE = 256
"""Candidates per result of a coarse quantiser where they spare more cells than they take time: in large indexes."""
_HALVINGS = 2
"""How often the step of `probe` that passed the target is halved: parameters are then a tenth too large at most."""
_QUANTILE = 1.645
"""One-sided 95% of the normal distribution."""


@runtime_checkable
class Searched(Protocol):
    """What is measured: the embedded engine, or one that runs elsewhere; results are rows of its vectors."""

    @property
    def count(self) -> int: ...

    @property
    def exhaustive(self) -> bool:
        """Whether every vector is scored, so that results are exact."""
        ...

    @property
    def refined(self) -> bool:
        """Whether quantised candidates are scored again."""
        ...

    ivf: Any
    """With `nlist` cells; None: it has none."""
    graph: Any
    """Not None where it searches a graph."""
    base: Any

    def vectors(self, rows: Integer[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
        """Of some rows."""
        ...

    def exact(self, queries: Float[np.ndarray, "queries dim"], k: int) -> TopK:
        """By scoring everything."""
        ...

    def search(self, queries: Float[np.ndarray, "queries dim"], k: int, params: SearchParams) -> TopK:
        """As it is searched."""
        ...


class RecallQueries(NamedTuple):
    """Queries of one kind and their exact answers."""

    kind: Kind
    vectors: Float[np.ndarray, "queries dim"]
    self_rows: Integer[np.ndarray, " queries"] | None
    """The row that is the query itself, which neither search counts; None: queries are not in the index."""
    truth: Int[np.ndarray, "queries 10"]


class Point(NamedTuple):
    """One way to search, measured."""

    factory: str
    kind: Kind
    probe: int
    refine: int
    recall: float
    """Mean share of the exact ten best that was found."""
    low: float
    """Its one-sided 95% lower bound over queries."""
    p50_ms: float
    p99_ms: float

    @property
    def params(self) -> SearchParams:
        return SearchParams(self.probe, self.refine)


def with_truth(
    engine: Searched, kind: Kind, vectors: Float[np.ndarray, "queries dim"], self_rows: np.ndarray | None = None
) -> RecallQueries:
    """Queries with their exact answers."""
    exact = engine.exact(np.ascontiguousarray(vectors, np.float32), min(AT + 1, engine.count)).indices
    return RecallQueries(kind, vectors, self_rows, _without_itself(exact, self_rows))


def picture_queries(engine: Searched, rows: Integer[np.ndarray, " some"], size: int, seed: int) -> RecallQueries:
    """Picture queries: some of the index's own vectors, each of which may not find itself.

    An index made of cells treats such a query like a new one; a graph knows its neighbours beforehand and looks
    better here than it is.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:size])
    return with_truth(engine, "picture", engine.vectors(chosen), chosen)


def measure(engine: Searched, factory: str, queries: RecallQueries, params: SearchParams) -> Point:
    """Recall over all queries at once, latency of single ones."""
    ids = _without_itself(engine.search(queries.vectors, AT + 1, params).indices, queries.self_rows)
    shares = _shares(ids, queries.truth)
    times = []
    for query in queries.vectors[:_TIMED]:
        start = time.perf_counter()
        engine.search(query[None], AT, params)
        times.append(1e3 * (time.perf_counter() - start))
    spread = float(shares.std(ddof=1)) / np.sqrt(len(shares)) if len(shares) > 1 else 1.0
    if engine.exhaustive:  # exact by construction, however few queries there are
        spread = 0.0
    return Point(
        factory, queries.kind, params.probe, params.refine,
        recall=float(shares.mean()), low=max(0.0, float(shares.mean() - _QUANTILE * spread)),
        p50_ms=float(np.median(times)), p99_ms=float(np.quantile(times, 0.99)),
    )  # fmt: skip


def curve(engine: Searched, factory: str, queries: RecallQueries, target: float) -> list[Point]:
    """Points until the target is passed or everything is looked at, closer around the target; in rising order.

    With the usual number of candidates `probe` rises from the least. Fewer candidates need as much of it at least, so
    they go on from there, until they take longer than what reaches the target already; more of them go down from there,
    or rise from the least where the usual number never reaches the target.
    """
    usual, *fewer = _refinements(engine)
    ladder = _ladder(engine)
    points: list[Point] = []

    def at(refine: int) -> Callable[[int], Point]:
        return lambda probe: measure(engine, factory, queries, SearchParams(probe, refine))

    def quickest() -> float:
        return min((point.p50_ms for point in points if point.low >= target), default=np.inf)

    points += _up(at(usual), ladder, -1, target, quickest())
    enough = min((point.probe for point in points if point.low >= target), default=None)
    if fewer and enough is None:
        points += _up(at(_MORE), ladder, -1, target, quickest())
    elif fewer and enough is not None:
        for refine in fewer:
            least = max((point.probe for point in points if point.low < target), default=-1)
            points += _up(at(refine), ladder, least, target, quickest())
        points += _down(at(_MORE), ladder, enough, target)
    return sorted(points, key=lambda point: (point.refine, point.probe))


def _up(
    measured: Callable[[int], Point], ladder: Sequence[int], under: int, target: float, quickest: float
) -> list[Point]:
    """From `under`, which misses the target, until it is passed, with some points between.

    It ends before where nothing more is found, or where it takes too long.
    """
    points: list[Point] = []
    best = 0.0
    for probe in (probe for probe in ladder if probe > under):
        points.append(point := measured(probe))
        if point.low >= target:
            return points + _between(measured, max(under, 0), probe, target)
        if point.p50_ms >= quickest or (point.recall - best < 5e-4 and best > 0.5):
            break
        best, under = point.recall, probe
    return points


def _down(measured: Callable[[int], Point], ladder: Sequence[int], over: int, target: float) -> list[Point]:
    """From `over`, which reaches the target, while it is reached, with some points before the first that misses it."""
    points: list[Point] = []
    for probe in (probe for probe in reversed(ladder) if probe < over):
        points.append(point := measured(probe))
        if point.low < target:
            return points + _between(measured, probe, over, target)
        over = probe
    return points


def _between(measured: Callable[[int], Point], under: int, over: int, target: float) -> list[Point]:
    points: list[Point] = []
    for _ in range(_HALVINGS):
        between = round(np.sqrt(under * over))
        if not under < between < over:
            break
        points.append(measured(between))
        under, over = (under, between) if points[-1].low >= target else (between, over)
    return points


def choose_point(points: Sequence[Point], target: float) -> Point:
    """The quickest point that reaches the target; when none does, the one that comes closest."""
    reaching = [point for point in points if point.low >= target]
    if reaching:
        return min(reaching, key=lambda point: point.p50_ms)
    return max(points, key=lambda point: (point.low, -point.p50_ms))


def _ladder(engine: Searched) -> list[int]:
    """Values of `probe` to try: half steps of a doubling."""
    if engine.ivf is not None:
        top, first = engine.ivf.nlist, 1
    elif engine.graph is not None:
        top, first = 4096, 16
    else:
        return [0]
    steps = {round(first * 2 ** (half / 2)) for half in range(2 * int(np.log2(max(top / first, 1))) + 1)} | {top}
    return sorted(steps)


def _refinements(engine: Searched) -> tuple[int, ...]:
    """How many quantised candidates per result are scored again, of coarse quantisers more: the usual, and fewer."""
    if not engine.refined:
        return (1,)
    return (USUAL, 16, 4) if hasattr(engine.base, "pq") else (4,)


def _without_itself(
    ids: Int[np.ndarray, "queries some"], self_rows: np.ndarray | None
) -> Int[np.ndarray, "queries 10"]:
    ids = _wide(ids)
    if self_rows is None:
        return ids[:, :AT]
    return np.stack([row[row != mine][:AT] for row, mine in zip(ids, self_rows, strict=True)])


def _wide(ids: np.ndarray) -> np.ndarray:
    """Padded with -1 so that every row has AT entries left after itself is taken out, however few there are."""
    missing = max(0, AT + 1 - ids.shape[1])
    return np.pad(ids, ((0, 0), (0, missing)), constant_values=-1)


def _shares(ids: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, " queries"]:
    right = [np.isin(exact[exact >= 0], row).mean() if (exact >= 0).any() else 1.0
             for row, exact in zip(ids, truth, strict=True)]  # fmt: skip
    return np.array(right, np.float64)
