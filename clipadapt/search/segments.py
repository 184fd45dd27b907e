"""Several engines searched as one: rows of the second follow those of the first.

    whole = Segments([big, small], [params_of_big, params_of_small])
    whole.search(queries, 10, "picture", whole.selected(mask))           rows of the whole, exact scores

Each engine is searched with the parameters that were measured for it, for the ten best of all are among the ten best of
each: what every part finds of its own, the whole finds. Engines of shards (`Divided`) are searched in threads. Knows
nothing of items or files.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.mapped import Rows
from clipadapt.search.recall import Kind
from clipadapt.search.selection import Selection
from clipadapt.search.topk import TopK
from clipadapt.threads import together


class Selected:
    """The rows that a search may find, by engine."""

    def __init__(self, mask: Bool[np.ndarray, " rows"], ends: Sequence[int]) -> None:
        self.mask = mask
        self.parts = [Selection(part) for part in np.split(mask, ends[:-1])]
        self.count = sum(part.count for part in self.parts)


class _Gathered:
    """Rows of segments, as an array of them would be."""

    def __init__(self, engine: "Segments", rows: Integer[np.ndarray, " some"], dtype: np.dtype) -> None:
        self._engine, self._rows = engine, rows
        self.dtype = dtype
        self.shape = len(rows), engine.dim

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | np.ndarray, /) -> Float[np.ndarray, "some dim"]:
        return self._engine.vectors(self._rows[rows]).astype(self.dtype, copy=False)


class Segments:
    """Engines in the order of their rows."""

    def __init__(self, engines: Sequence[Engine], search_params: Sequence[Mapping[Kind, SearchParams]]) -> None:
        self.engines = tuple(engines)
        self.params = tuple(search_params)
        self._ends = np.cumsum([engine.count for engine in engines]).tolist()

    @property
    def count(self) -> int:
        return self._ends[-1]

    @property
    def dim(self) -> int:
        return self.engines[0].dim

    def size(self) -> int:
        """Bytes of the engines' files."""
        return sum(engine.size() for engine in self.engines)

    def selected(self, mask: Bool[np.ndarray, " rows"]) -> Selected:
        """The rows of a mask, as a search takes them."""
        return Selected(mask, self._ends)

    def search(
        self,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        kind: Kind,
        selected: Selected | None = None,
        *,
        wider: float = 1.0,
        deep: bool = False,
    ) -> TopK:
        """The k best of each query with exact scores, best first; -1 where fewer than k were found.

        Args:
            wider: what each engine's `probe` is multiplied by.
            deep: gives all candidates that such a search scores exactly, from a thirty-second of the cells at least:
                what is wanted of them lies further off than what `probe` was measured for.
        """
        depth = max(params[kind].candidates(k) for params in self.params) if deep else k

        def search(number: int) -> TopK:
            engine, params = self.engines[number], self.params[number][kind]
            params = params._replace(probe=int(np.ceil(params.probe * wider)))
            selection = selected.parts[number] if selected is not None else None
            width = k
            if deep:
                width = params.candidates(k)
                params = params._replace(refine=1, probe=engine.deep_probe(params.probe))
            return engine.search(queries, width, params, selection)

        return self._joined(self._each(search, len(queries)), queries, depth)

    def exact(self, queries: Float[np.ndarray, "queries dim"], k: int, selected: Selected | None = None) -> TopK:
        """The same by scoring every row allowed."""

        def search(number: int) -> TopK:
            return self.engines[number].exact(queries, k, selected.parts[number] if selected is not None else None)

        return self._joined(self._each(search, len(queries)), queries, k)

    def ranks(self, rows: Integer[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """What rows of equal score go by, the lowest first: the order in which they came."""
        return rows

    def drawn(self, size: int, seed: int) -> Int[np.ndarray, " some"]:
        """Some rows, the same ones for as long as there are so many, and however they are divided."""
        return np.sort(np.random.default_rng(seed).permutation(self.count)[:size])

    def vectors(self, rows: Integer[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
        """Exact vectors of rows."""
        rows = np.asarray(rows, np.int64)
        found = np.empty((len(rows), self.dim), np.float32)
        for engine, inside, own in self.parts(rows):
            found[inside] = engine.vectors(own)
        return found

    def parts(
        self, rows: Integer[np.ndarray, " some"]
    ) -> Iterator[tuple[Engine, Bool[np.ndarray, " some"], Integer[np.ndarray, " inside"]]]:
        """Each engine that has some of the rows, which of them, and their numbers in it."""
        number = np.searchsorted(self._ends, rows, "right")
        for part in np.unique(number):
            inside = number == part
            yield self.engines[part], inside, rows[inside] - self._start(int(part))

    def rows(self, rows: Integer[np.ndarray, " some"], *, half: bool) -> Rows:
        """Exact vectors of some rows, in rising order, read as they are needed; to build another engine from."""
        if len(self.engines) == 1 and len(rows) == self.count:
            return self.engines[0].all_vectors()
        return _Gathered(self, rows, np.dtype(np.float16 if half else np.float32))

    def _each(self, search: Callable[[int], TopK], queries: int) -> list[tuple[int, TopK]]:
        """What a search finds in each engine that has any rows, and the engine's number."""
        return [(number, search(number)) for number, engine in enumerate(self.engines) if engine.count]

    def _start(self, number: int) -> int:
        return self._ends[number] - self.engines[number].count

    def _joined(self, found: Sequence[tuple[int, TopK]], queries: np.ndarray, k: int) -> TopK:
        if not found:
            return TopK(np.full((len(queries), 0), -np.inf, np.float32), np.full((len(queries), 0), -1, np.int64))
        scores = np.concatenate([one.scores for _, one in found], axis=1)
        rows = np.concatenate(
            [np.where(one.indices >= 0, one.indices + self._start(number), -1) for number, one in found], axis=1
        )
        if len(found) == 1:
            return TopK(scores, rows)
        last = np.where(rows < 0, np.iinfo(np.int64).max, self.ranks(rows))
        order = np.lexsort((last, -scores), axis=1)[:, :k]
        return TopK(np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1))


class Divided(Segments):
    """Engines of several shards, which are searched at once where there are fewer queries than cores.

    Args:
        shards: each as it is searched alone.
        order: when each row came among all of them.
    """

    def __init__(self, shards: Sequence[Segments], order: Int[np.ndarray, " rows"]) -> None:
        super().__init__(
            [engine for shard in shards for engine in shard.engines], [one for shard in shards for one in shard.params]
        )
        ends = np.cumsum([len(shard.engines) for shard in shards])
        self._groups = [part.tolist() for part in np.split(np.arange(len(self.engines)), ends[:-1])]
        self._order = order
        self._sorted: np.ndarray | None = None

    def ranks(self, rows: Integer[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """See Segments."""
        return self._order[rows]

    def drawn(self, size: int, seed: int) -> Int[np.ndarray, " some"]:
        """See Segments."""
        if self._sorted is None:
            self._sorted = np.argsort(self._order, kind="stable")
        return np.sort(self._sorted[super().drawn(size, seed)])

    def _each(self, search: Callable[[int], TopK], queries: int) -> list[tuple[int, TopK]]:
        if queries >= (os.cpu_count() or 1):  # FAISS gives each query a thread, so no core is left
            return super()._each(search, queries)
        groups = [[number for number in group if self.engines[number].count] for group in self._groups]
        found = together(lambda group: [(number, search(number)) for number in group], [one for one in groups if one])
        return [one for group in found for one in group]
