"""The best items of a query that wishes for values: candidates by similarity, ordered by what both say.

    weighed = Weighed(engine, items, Predicted(signals))
    weighed.best(vector, wishes, 10, kind, selection, kept)       # [(row, score), ...]

A score is the cosine plus `spread` times what wishes say (wishes.py), so that a step of one in the logarithm of a
probability weighs as much as one standard deviation of the query's cosines. Of a small index every row is scored, and
what wishes say of it remembered.

Of a larger one candidates are weighed. Wishes take away and never add, so of candidates in the order of their cosines
only those above the k-th score need be. The first are those that a plain search scores anyway. They do where at most a
hundredth of the results is expected beyond them, by what a sample of the catalogue says of wishes and by how fast
cosines fall. Else the rows that wishes say most of are searched on their own, a thirty-second of all and then a
quarter, and in the end more candidates are fetched. What wishes say of every row is computed when first needed, and
remembered.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.search.items import Items
from clipadapt.search.predicted import Predicted
from clipadapt.search.recall import AT, Kind
from clipadapt.search.segments import Segments, Selected
from clipadapt.search.wishes import Weigher, Wishes

MISSED = 0.01
"""Share of the results that may be expected to be missing."""
_FIRST = 2
"""Candidates per result, to begin with: as a plain search."""
_WIDER = 1.25
"""Times as many cells are looked into as for a plain search, whose recall was measured for half as many results."""
_WEIGHED = 8
"""Candidates per result that are weighed at once, to begin with."""
_SHARES = (1 / 32, 1 / 4)
"""Of the rows, those that wishes say most of, which are searched on their own where the first candidates do not do."""
WHOLE = 1 << 23
"""Numbers in the vectors of a small index, 16,384 of 512 dimensions: scored in a millisecond or two."""
_MOST = 1 << 14
"""Rows of a small index."""
_KEPT = 32 << 20
"""Bytes of probabilities that are remembered."""
_SAMPLE = 2_048
"""Rows by which cosines' spread, and what wishes say of the catalogue, are judged."""
_REMEMBERED = 128
"""Wishes of which it is remembered what they say of the sample."""
_EVERYWHERE = 16
"""Wishes of which it is remembered what rows they say most of: about four bytes a row each."""
_BLOCK = 1 << 16
Kept = Callable[[np.ndarray, np.ndarray], list[tuple[int, float]]]
"""Rows and scores, best first -> those that are results: one per product, say."""


class _Level(NamedTuple):
    """Rows that wishes say at least so much of."""

    least: float
    rows: Selected


class Weighed:
    """One version of an index, and what was computed of its wishes so far."""

    def __init__(self, engine: Segments, items: Items, predicted: Predicted) -> None:
        self.engine, self.predicted, self.signals = engine, predicted, predicted.signals
        self.weigher = Weigher(items, self.signals)
        self.small = engine.count <= _MOST and engine.count * engine.dim <= WHOLE
        self._rows = np.arange(engine.count) if self.small else engine.drawn(_SAMPLE, seed=0)
        self._vectors = engine.vectors(self._rows)
        self._chances: dict[str, np.ndarray] = {}
        """Probabilities of an attribute's values, of the sample."""
        self._sampled: OrderedDict[Wishes, np.ndarray] = OrderedDict()
        self._everywhere: OrderedDict[tuple[Wishes, int], tuple[Selected | None, list[_Level]]] = OrderedDict()

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
        cosines = np.einsum("nd,d->n", self._vectors, vector)  # a row's sum goes by the row alone: ties stay ties
        spread = max(float(cosines.std()), 1e-6)
        if self.small:
            totals = cosines + spread * self._of_sample(wishes)
            rows = self._rows if selection is None else np.flatnonzero(selection.mask)
            return _best(self.engine, rows, totals[rows], k, kept)
        pool = _Pool(self, wishes, spread, k, kept)
        fetch, level = (matches if kind is None else min(_FIRST * k, matches)), 0.0
        while True:
            scores = pool.add(*self._found(vector, fetch, kind, selection))
            results = pool.results()
            if kind is None or len(scores) >= matches or self._sure(results, scores, spread, wishes, k, level):
                return results
            for least, among in () if level else self._levels(wishes, selection):
                results = self._within(pool, vector, kind, among, level)
                level = least
                if self._sure(results, scores, spread, wishes, k, level):
                    return results
            fetch = min(4 * fetch, matches)

    def _within(
        self, pool: "_Pool", vector: np.ndarray, kind: Kind, among: Selected, most: float
    ) -> list[tuple[int, float]]:
        """Adds the candidates of a level, of which wishes say `most` at most where it is not in the pool yet."""
        fetch = min(_FIRST * pool.k, among.count)
        while True:
            scores = pool.add(*self._found(vector, fetch, kind, among))
            results = pool.results()
            last = results[-1][1] if len(results) == pool.k else -np.inf
            if len(scores) >= among.count or self._end(scores, pool.k) + pool.spread * most <= last:
                return results
            fetch = min(4 * fetch, among.count)

    def _end(self, scores: np.ndarray, k: int) -> float:
        """The cosine above which hardly any candidate is missing: beyond it, a quantised search leaves some out."""
        return float(scores[min(int(np.sqrt(_FIRST * k * len(scores))), len(scores) - 1)])

    def _found(
        self, vector: np.ndarray, fetch: int, kind: Kind | None, selection: Selected | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines of candidates, best first: all that a plain search for `fetch` results scores."""
        if kind is None:
            found = self.engine.exact(vector[None], fetch, selection)
        else:
            wider = max(_WIDER, np.sqrt(fetch / (4 * AT)))
            found = self.engine.search(vector[None], fetch, kind, selection, wider=wider, deep=True)
        there = found.indices[0] >= 0
        return found.indices[0][there], found.scores[0][there]

    def _sure(
        self, results: list[tuple[int, float]], scores: np.ndarray, spread: float, wishes: Wishes, k: int, level: float
    ) -> bool:
        """Whether few enough of the results are expected beyond the candidates.

        Args:
            scores: cosines of the candidates that were found among all rows.
            level: rows of which wishes say so much were searched on their own; 0: none were.
        """
        if not len(scores) or len(results) < k:
            return False
        end = self._end(scores, k)
        needed = float((results[-1][1] - end) / spread)
        if needed >= min(level, 0.0):
            return True
        sampled = self._of_sample(wishes)
        left_out = sampled[sampled < level] if level else sampled
        fall = max((self._end(scores, max(k // 4, 1)) - end) / spread, 1e-6)  # as the rank doubles
        expected, beyond, left = 0.0, float(len(scores)), float(self.engine.count)
        while needed < 0.0 < left and expected <= MISSED * k:
            expected += min(beyond, left) * np.count_nonzero(left_out > needed) / max(len(sampled), 1)
            beyond, left, needed = 2 * beyond, left - beyond, needed + fall
        return bool(expected <= MISSED * k)

    def _of_sample(self, wishes: Wishes) -> np.ndarray:
        """What wishes say of the sample; of a small index that is every row."""
        found = self._sampled.get(wishes)
        if found is None:
            found = self._sampled[wishes] = self.weigher.weigh(wishes, self._rows, self._probabilities)
            while len(self._sampled) > _REMEMBERED:
                self._sampled.popitem(last=False)
        return found

    def _probabilities(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Of an attribute's values, for some rows of the sample; of all of them when first needed."""
        assert self.signals is not None
        known = self._chances.get(name)
        if known is None:
            known = self.signals.attributes[name].probabilities(self._vectors)
            if known.nbytes + sum(one.nbytes for one in self._chances.values()) <= _KEPT:
                self._chances = {**self._chances, name: known}  # another thread may be going through the one before
        return known[np.searchsorted(self._rows, rows)]

    def _levels(self, wishes: Wishes, selection: Selected | None) -> list[_Level]:
        """The rows that wishes say most of, the fewest first."""
        found = self._everywhere.get((wishes, id(selection)))
        if found is None:
            found = self._everywhere[wishes, id(selection)] = selection, self._best_rows(wishes, selection)
            while len(self._everywhere) > _EVERYWHERE:
                self._everywhere.popitem(last=False)
        return found[1]

    def _best_rows(self, wishes: Wishes, selection: Selected | None) -> list[_Level]:
        allowed = np.arange(self.engine.count) if selection is None else np.flatnonzero(selection.mask)
        said = np.empty(len(allowed), np.float32)
        for start in range(0, len(allowed), _BLOCK):
            part = slice(start, start + _BLOCK)
            said[part] = self.weigher.weigh(wishes, allowed[part], functools.partial(self.predicted, self.engine))
        levels: list[_Level] = []
        for share in _SHARES:
            place = min(int(share * len(said)), len(said) - 1)
            least = float(-np.partition(-said, place)[place])
            chosen = allowed[said >= least]
            if not levels or len(chosen) > levels[-1].rows.count:
                mask = np.zeros(self.engine.count, bool)
                mask[chosen] = True
                levels.append(_Level(least, self.engine.selected(mask)))
        return levels


class _Pool:
    """Candidates of one query, and what came of those that were weighed."""

    def __init__(self, weighed: Weighed, wishes: Wishes, spread: float, k: int, kept: Kept) -> None:
        self.weighed, self.wishes, self.spread, self.k, self.kept = weighed, wishes, spread, k, kept
        self.rows, self.cosines, self.totals = np.empty(0, np.int64), np.empty(0), np.empty(0)

    def add(self, rows: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        """More candidates; gives their cosines."""
        fresh = ~np.isin(rows, self.rows) if len(self.rows) else np.ones(len(rows), bool)
        self.rows = np.concatenate([self.rows, rows[fresh]])
        self.cosines = np.concatenate([self.cosines, cosines[fresh].astype(np.float64)])
        self.totals = np.concatenate([self.totals, np.full(int(fresh.sum()), np.nan)])
        return cosines

    def results(self) -> list[tuple[int, float]]:
        """The k best; weighs candidates, most similar first, for as long as one can still be among them."""
        order = np.lexsort((self.weighed.engine.ranks(self.rows), -self.cosines))
        todo = order[np.isnan(self.totals[order])]
        step, done = _WEIGHED * self.k, 0
        while True:
            some = todo[done : done + step]
            done, step = done + len(some), 4 * step
            self._weigh(some)
            known = np.flatnonzero(~np.isnan(self.totals))
            best = _best(self.weighed.engine, self.rows[known], self.totals[known], self.k, self.kept)
            last = best[-1][1] if len(best) == self.k else -np.inf
            if done >= len(todo) or self.cosines[todo[done]] < last:
                return best

    def _weigh(self, some: np.ndarray) -> None:
        rows = self.rows[some]
        said = self.weighed.weigher.weigh(self.wishes, rows, self.weighed.engine.vectors(rows))
        self.totals[some] = self.cosines[some] + self.spread * said


def _best(engine: Segments, rows: np.ndarray, totals: np.ndarray, k: int, kept: Kept) -> list[tuple[int, float]]:
    """The k best that are kept, of rows with their scores."""
    few = 2 * k
    while True:  # products of all of them would take longer than the search
        some = np.flatnonzero(totals >= -np.partition(-totals, few - 1)[few - 1]) if few < len(rows) else slice(None)
        order = np.lexsort((engine.ranks(rows[some]), -totals[some]))
        found = kept(rows[some][order], totals[some][order])[:k]
        if len(found) == k or few >= len(rows):
            return found
        few *= 4
