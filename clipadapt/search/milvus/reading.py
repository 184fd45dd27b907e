"""One collection, open for reading: searches, counts, rows, and the item table where it is needed whole.

A reader never changes: it stands for a collection after one change, so threads share it, and an answer of several
requests is of one collection. What it read is kept with it: the item table, for facets, vocabularies and wishes, and a
sample of vectors. Knows nothing of versions or of how rows are written.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from clipadapt.errors import UsageError
from clipadapt.search.backend import Hit
from clipadapt.search.filters import NAMING_VALUES, Condition, unmatched
from clipadapt.search.items import ID, PRODUCT, VECTOR, Items, first_faults
from clipadapt.search.milvus import writing
from clipadapt.search.milvus.expressions import expression, holds, joined, none_of_products
from clipadapt.search.milvus.fields import PLACE, PLACES
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import PAGE, Version
from clipadapt.search.milvus.wished import MOST, SAMPLE, Found, wished
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import KINDS, Kind

_TABLE = 10_000
"""Rows of one request that carries no vectors."""


class Reader:
    """Of a version."""

    def __init__(self, server: Server, now: Version) -> None:
        self.server, self.now = server, now
        self._lock = threading.Lock()
        self._table: Items | None = None
        self._sampled: tuple[tuple[int, int], np.ndarray] | None = None

    @property
    def items(self) -> Items:
        """The item table, in the order of ids; read when first asked for."""
        with self._lock:
            if self._table is None:
                rows = self.server.pages(self.now.collection, "", self.now.fields.outputs, _TABLE)
                self._table = self.now.fields.items(rows)
            return self._table

    def count(self, conditions: Sequence[Condition]) -> int:
        """How many items meet conditions."""
        return self.counted(expression(conditions, self.now.fields))

    def unmatched(self, conditions: Sequence[Condition]) -> list[str]:
        """What conditions name that no item has, a line each."""
        found = []
        for condition in conditions:
            field = self.now.fields.by_name.get(condition.column)
            if field is None or field.kind not in ("text", "list") or condition.operator not in NAMING_VALUES:
                continue
            if any(not self.counted(holds(field, [value])) for value in condition.values):
                line = unmatched(self.items, condition)
                found += [line] if line else []
        return found

    def sample(self, size: int, seed: int) -> Float[np.ndarray, "some dim"]:
        """Vectors of a range of the ids' hashes, so that nothing else is read; the last sample is remembered."""
        with self._lock:
            if self._sampled is None or self._sampled[0] != (size, seed):
                self._sampled = (size, seed), self._sample(self.now, size, seed)
            return self._sampled[1]

    def search(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...], collapse: bool, *,
        exact: bool,
    ) -> list[list[Hit]]:  # fmt: skip
        """The k best of each query.

        Raises:
            UsageError: a condition at fault, or more results than Milvus gives.
        """
        if k > MOST:
            raise UsageError(f"k is {k:,}; Milvus gives {MOST:,} results of a search at most")
        where = expression(conditions, self.now.fields)
        results: list[list[Hit]] = [[] for _ in queries]
        fetch = min(2 * k if collapse else k, MOST)
        for kind in KINDS:
            places = [place for place, one in enumerate(queries) if one.kind == kind and not any(one.wishes)]
            plain = [place for place in places if not queries[place].items]
            vectors = np.array([queries[place].vector for place in plain])
            first = self._search(vectors, fetch, where, None if exact else kind) if plain else []
            begun = dict(zip(plain, first, strict=True))
            for place in places:
                results[place] = self._kept(queries[place], k, where, collapse, fetch, begun.get(place), exact)
        for place, one in enumerate(queries):
            if any(one.wishes):
                results[place] = self._wished(one, k, where, collapse, exact)
        return results

    def _wished(self, query: CompiledQuery, k: int, where: str, collapse: bool, exact: bool) -> list[Hit]:
        def find(fetch: int, where: str) -> list[Found]:
            kind, signals = None if exact else query.kind, query.signals is not None
            return self._search(query.vector[None], fetch, where, kind, with_vectors=signals)[0]

        allowed = joined([where, none_of_products(sorted(self._products(query.items)))])
        items, sample = self.items, self.sample(SAMPLE, 0)
        return wished(find, query, k, allowed, items, self.now.fields, sample, collapse=collapse)

    def _kept(
        self, query: CompiledQuery, k: int, where: str, collapse: bool, fetch: int, begun: list[Found] | None,
        exact: bool,
    ) -> list[Hit]:  # fmt: skip
        """One result per product. What is missing after a search is searched for among the other products, which is
        exact where a search is, in one request for most queries; a grouping search would score everything again.
        """
        seen = self._products(query.items)
        kept: list[Hit] = []
        while len(kept) < k:
            allowed = joined([where, none_of_products(sorted(seen))])
            rows = begun or self._search(query.vector[None], fetch, allowed, None if exact else query.kind)[0]
            begun = None
            for hit, _ in rows:
                if not collapse or hit.product not in seen:
                    kept.append(hit)
                    seen |= {hit.product} if collapse else set()
            if len(rows) < fetch or not collapse:
                break
            fetch = min(2 * fetch, MOST)
        return kept[:k]

    def _search(
        self, vectors: Float[np.ndarray, "queries dim"], fetch: int, where: str, kind: Kind | None, *,
        with_vectors: bool = False,
    ) -> list[list[Found]]:  # fmt: skip
        """Rows that an expression allows, best first. Without a kind of query every vector is scored."""
        now = self.now
        if kind is None and not now.kind.exhaustive:
            return self._scored(now, vectors, fetch, where)
        params = now.kind.search_params(now.meta.search_params[kind or "picture"], fetch)
        outputs = [*now.fields.outputs, *([VECTOR] if with_vectors else [])]
        answer = self.server.call(
            "search", now.collection, data=[row.tolist() for row in np.asarray(vectors, np.float32)], filter=where,
            limit=fetch, output_fields=outputs, search_params=params, anns_field=VECTOR,
        )  # fmt: skip
        return [[self._found(now, one["entity"], one["distance"]) for one in hits] for hits in answer]

    def _products(self, items: Sequence[str]) -> set[str]:
        return {row[PRODUCT] for row in self.rows(list(dict.fromkeys(items)), [ID, PRODUCT]).values()}

    def _scored(self, now: Version, vectors: np.ndarray, fetch: int, where: str) -> list[list[Found]]:
        best: list[list[Found]] = [[] for _ in vectors]
        for page in self.server.each_page(now.collection, where, [*now.fields.outputs, VECTOR], PAGE):
            scores = np.asarray(vectors) @ np.array([row[VECTOR] for row in page], np.float32).T
            for place, of_page in enumerate(scores):
                top = np.argsort(-of_page)[:fetch]
                rows = [self._found(now, page[row], float(of_page[row])) for row in top]
                best[place] = sorted([*best[place], *rows], key=lambda one: -one.hit.score)[:fetch]
        return best

    def _found(self, now: Version, row: Mapping[str, Any], score: float) -> Found:
        vector = row.get(VECTOR)
        hit = Hit(row[ID], float(score), row[PRODUCT], now.fields.attributes(dict(row)))
        return Found(hit, None if vector is None else np.asarray(vector, np.float32))

    def counted(self, where: str) -> int:
        """How many items meet an expression."""
        rows = self.server.call("query", self.now.collection, filter=where, output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def rows(self, ids: Sequence[str], fields: list[str]) -> dict[str, dict[str, Any]]:
        """Rows by id.

        Raises:
            UsageError: names every id that is not in the index.
        """
        found = writing.rows_of(self.server, self.now.collection, ids, fields)
        missing = [f"{one!r} was never added, or was removed" for one in ids if one not in found]
        if missing:
            raise UsageError(
                f"{len(missing)} item(s) not in the index:{first_faults(missing)}\ncheck the ids, or add them"
            )
        return found

    def _sample(self, now: Version, size: int, seed: int) -> Float[np.ndarray, "some dim"]:
        start = int(np.random.default_rng(seed).integers(PLACES))
        count = max(self.counted(""), 1)
        width = min(PLACES, int(PLACES * (size / count * 1.5 + 64 / count)))
        end = start + width
        where = f"{PLACE} >= {start} and {PLACE} < {end}"
        if end > PLACES:
            where = f"{PLACE} >= {start} or {PLACE} < {end - PLACES}"
        rows = self.server.pages(now.collection, "" if width == PLACES else where, [ID, PLACE, VECTOR], PAGE)
        rows.sort(key=lambda row: ((row[PLACE] - start) % PLACES, row[ID]))
        return np.array([row[VECTOR] for row in rows[:size]], np.float32).reshape(-1, now.meta.dim)
