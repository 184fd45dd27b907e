"""Answers queries on one open version of an index: filters, collapsing by product, results with attributes.

Remembers which rows recent filters match; threads may share it. Knows nothing of versions, models or how queries became
vectors.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from clipadapt.search.backend import Hit
from clipadapt.search.filters import Condition, matching
from clipadapt.search.predicted import Predicted
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import AT, KINDS, Kind
from clipadapt.search.segments import Segments, Selected
from clipadapt.search.shards import Version
from clipadapt.search.weighed import Weighed

_SELECTIONS = 16
"""Filters whose matching rows are remembered."""


class Searcher:
    """The contents of a version, and what was computed from them so far."""

    def __init__(self, contents: Version, before: "Searcher | None" = None) -> None:
        """Of a version; what the version `before` computed of the same files is kept."""
        self.contents = contents
        self.engine: Segments = contents.engine
        self.items, self.meta = contents.items, contents.meta
        self._selections: OrderedDict[tuple[Condition, ...], Selected] = OrderedDict()
        self._sampled: tuple[tuple[int, int], np.ndarray] | None = None
        self._weighed: Weighed | None = None
        self._predicted = before._predicted if before is not None else None
        self._lock = threading.Lock()

    def search(
        self,
        queries: Sequence[CompiledQuery],
        k: int,
        conditions: tuple[Condition, ...] = (),
        collapse: bool = True,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The k best items of each query; queries of one kind are searched together."""
        selection = self.selection(conditions)
        results: list[list[tuple[int, float]]] = [[] for _ in queries]
        for kind in KINDS:
            places = [place for place, one in enumerate(queries) if one.kind == kind and not any(one.wishes)]
            some = [queries[place] for place in places]
            ranked = self._ranked(some, k, None if exact else kind, selection, collapse)
            for place, hits in zip(places, ranked, strict=True):
                results[place] = hits
        for place, one in enumerate(queries):
            if any(one.wishes):
                results[place] = self._wished(one, k, selection, collapse, exact)
        return [self._hits(hits) for hits in results]

    def selection(self, conditions: tuple[Condition, ...]) -> Selected | None:
        """Rows that may be found; None when all may."""
        if not conditions and not self.items.removed.any():
            return None
        with self._lock:
            known = self._selections.get(conditions)
            if known is not None:
                self._selections.move_to_end(conditions)
                return known
        made = self.engine.selected(matching(self.items, conditions) & ~self.items.removed)
        with self._lock:
            self._selections[conditions] = made
            while len(self._selections) > _SELECTIONS:
                self._selections.popitem(last=False)
        return made

    def _ranked(
        self,
        queries: list[CompiledQuery],
        k: int,
        kind: Kind | None,
        selection: Selected | None,
        collapse: bool,
    ) -> list[list[tuple[int, float]]]:
        """Row and score of the results of each query; asks for more until enough are left after collapsing.

        Without a kind of query every vector is scored.
        """
        matches = self.items.rows if selection is None else selection.count
        results: list[list[tuple[int, float]]] = [[] for _ in queries]
        waiting = list(range(len(queries)))
        fetch = min(2 * k if collapse else k, matches)
        while waiting and matches:
            vectors = np.stack([queries[place].vector for place in waiting])
            if kind is None:
                best = self.engine.exact(vectors, fetch, selection)
            else:
                best = self.engine.search(vectors, fetch, kind, selection, wider=max(1.0, np.sqrt(fetch / (4 * AT))))
            for place, scores, rows in zip(waiting, best.scores, best.indices, strict=True):
                results[place] = self._collapsed(queries[place], rows, scores, k, collapse)
            waiting = [place for place in waiting if len(results[place]) < k] if fetch < matches else []
            fetch = min(4 * fetch, matches)
        return results

    def _wished(
        self, query: CompiledQuery, k: int, selection: Selected | None, collapse: bool, exact: bool
    ) -> list[tuple[int, float]]:
        weighed = self._weighed
        if weighed is None or weighed.signals is not query.signals:
            if self._predicted is None or self._predicted.signals is not query.signals:
                self._predicted = Predicted(query.signals)
            self._weighed = weighed = Weighed(self.engine, self.items, self._predicted)
        kind = None if exact else query.kind
        return weighed.best(
            query.vector, query.wishes, k, kind, selection,
            lambda rows, scores: self._collapsed(query, rows, scores, k, collapse),
        )  # fmt: skip

    def _collapsed(
        self, query: CompiledQuery, rows: np.ndarray, scores: np.ndarray, k: int, collapse: bool
    ) -> list[tuple[int, float]]:
        rows = rows[rows >= 0]
        seen = set(self.items.products(self.items.live_rows(query.items))) if query.items else set()
        kept = []
        for row, score, product in zip(rows.tolist(), scores.tolist(), self.items.products(rows), strict=False):
            if product not in seen:
                kept.append((row, float(score)))
                if collapse:
                    seen.add(product)
        return kept[:k]

    def _hits(self, ranked: list[tuple[int, float]]) -> list[Hit]:
        rows = np.array([row for row, _ in ranked], np.int64)
        items, about = self.items, self.items.attributes(rows)
        return [
            Hit(item, score, product, known)
            for item, (_, score), product, known in zip(
                items.names(rows), ranked, items.products(rows), about, strict=True
            )
        ]

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """An item's vector.

        Raises:
            UsageError: it was never added, or removed.
        """
        return self.engine.vectors(self.items.live_rows([item]))[0]

    def sample(self, size: int, seed: int) -> Float[np.ndarray, "some dim"]:
        """Vectors of some rows; the last sample is remembered."""
        with self._lock:
            if self._sampled is None or self._sampled[0] != (size, seed):
                self._sampled = (size, seed), self.engine.vectors(self.engine.drawn(size, seed))
            return self._sampled[1]
