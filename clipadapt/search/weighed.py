"""The best items of a query that wishes for values: candidates by similarity, ordered by what both say.

    weighed = Weighed(engine, items, signals)
    weighed.best(vector, wishes, 10, kind, selection, kept)       # [(row, score), ...]

A score is the cosine plus `spread` times what wishes say (wishes.py), so that a step of one in the logarithm of a
probability weighs as much as one standard deviation of the query's cosines. Wishes take away and never add, so once
the k-th score is above the cosine that the next candidates have, nothing better can follow. Short of that, candidates
are added until at most a hundredth of the results is expected to be missing, by what a sample of the catalogue says of
wishes and by how fast cosines fall. Items whose labels say that all is as wished are candidates of their own.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from clipadapt.search.items import Items
from clipadapt.search.recall import AT, Kind
from clipadapt.search.segments import Segments, Selected
from clipadapt.search.wishes import Signals, Weigher, Wishes

MISSED = 0.01
"""Share of the results that may be expected to be missing."""
_FIRST = 8
"""Candidates per result, to begin with."""
_SAMPLE = 2_048
"""Rows by which cosines' spread, and what wishes say of the catalogue, are judged."""
_REMEMBERED = 16
"""Wishes whose fulfilment by labels, and on the sample, is remembered."""
Kept = Callable[[np.ndarray, np.ndarray], list[tuple[int, float]]]
"""Rows and scores, best first -> those that are results: one per product, say."""


class Weighed:
    """One version of an index, and what was computed of its wishes so far."""

    def __init__(self, engine: Segments, items: Items, signals: Signals | None) -> None:
        self.engine, self.signals, self.weigher = engine, signals, Weigher(items, signals)
        self._rows = np.sort(np.random.default_rng(0).permutation(engine.count)[:_SAMPLE])
        self._vectors = engine.vectors(self._rows)
        self._remembered: OrderedDict[Wishes, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def best(
        self, vector: Float[np.ndarray, " dim"], wishes: Wishes, k: int, kind: Kind | None,
        selection: Selected | None, kept: Kept,
    ) -> list[tuple[int, float]]:  # fmt: skip
        """Rows with their scores, best first.

        Args:
            kind: of the query, by which engines are searched; None: every vector is scored.
            selection: rows that may be found; None: all.
        """
        matches = self.engine.count if selection is None else selection.count
        if not matches:
            return []
        spread = max(float((self._vectors @ vector).std()), 1e-6)
        fulfilled, sampled = self._known(wishes)
        fetch = matches if kind is None else min(_FIRST * k, matches)
        pool: dict[int, float] = {}
        among = self.engine.selected(fulfilled if selection is None else fulfilled & selection.mask)
        if among.count and fetch < matches:
            self._found(pool, vector, min(4 * k, among.count), kind, among)
        while True:
            scores = self._found(pool, vector, fetch, kind, selection)
            rows = np.array(sorted(pool), np.int64)
            cosines = np.array([pool[row] for row in rows.tolist()])
            totals = cosines + spread * self.weigher.weigh(wishes, rows, self.engine.vectors(rows))
            order = np.lexsort((rows, -totals))
            results = kept(rows[order], totals[order])[:k]
            if fetch >= matches or (len(results) == k and self._sure(results[-1][1], scores, spread, sampled, k)):
                return results
            fetch = min(4 * fetch, matches)

    def _found(
        self, pool: dict[int, float], vector: np.ndarray, fetch: int, kind: Kind | None,
        selection: Selected | None,
    ) -> np.ndarray:  # fmt: skip
        if kind is None:
            found = self.engine.exact(vector[None], fetch, selection)
        else:
            found = self.engine.search(vector[None], fetch, kind, selection, wider=max(1.0, np.sqrt(fetch / (4 * AT))))
        there = found.indices[0] >= 0
        pool.update(zip(found.indices[0][there].tolist(), found.scores[0][there].tolist(), strict=True))
        return found.scores[0][there]

    def _sure(self, last: float, scores: np.ndarray, spread: float, sampled: np.ndarray, k: int) -> bool:
        """Whether few enough of the results are expected beyond the candidates, whose cosines `scores` are."""
        if not len(scores):
            return False
        needed = (last - float(scores[-1])) / spread
        fall = max(float(scores[len(scores) // 2] - scores[-1]) / spread, 1e-6)  # as the rank doubles
        expected, beyond, left = 0.0, float(len(scores)), float(self.engine.count)
        while needed < 0.0 < left and expected <= MISSED * k:
            expected += min(beyond, left) * float((sampled > needed).mean()) if len(sampled) else 0.0
            beyond, left, needed = 2 * beyond, left - beyond, needed + fall
        return expected <= MISSED * k

    def _known(self, wishes: Wishes) -> tuple[np.ndarray, np.ndarray]:
        """Rows that fulfil wishes by their labels, and what wishes say of the rest of the sample."""
        known = self._remembered.get(wishes)
        if known is None:
            fulfilled = self.weigher.as_wished(wishes)
            rest = ~fulfilled[self._rows]
            known = fulfilled, self.weigher.weigh(wishes, self._rows[rest], self._vectors[rest])
            self._remembered[wishes] = known
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return known
