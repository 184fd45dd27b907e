"""Several engines searched as one: rows of the second follow those of the first.

    whole = Segments([big, small], [params_of_big, params_of_small])
    whole.search(queries, 10, "picture", whole.selected(mask))           rows of the whole, exact scores

Each engine is searched with the parameters that were measured for it, for the ten best of all are among the ten best of
each: what every part finds of its own, the whole finds. Knows nothing of items or files.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from clipadapt.search.engine import Engine, SearchParams, Selection
from clipadapt.search.recall import Kind
from clipadapt.search.topk import TopK, merged


class Selected:
    """The rows that a search may find, by engine."""

    def __init__(self, mask: Bool[np.ndarray, " rows"], ends: Sequence[int]) -> None:
        self.mask = mask
        self.parts = [Selection(part) for part in np.split(mask, ends[:-1])]
        self.count = sum(part.count for part in self.parts)


class Segments:
    """Engines in the order of their rows."""

    def __init__(self, engines: Sequence[Engine], search_params: Sequence[Mapping[Kind, SearchParams]]) -> None:
        self.engines = tuple(engines)
        self._params = tuple(search_params)
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
            deep: gives all candidates that such a search scores exactly, `refine` times k, from a thirty-second of the
                cells at least: what is wanted of them lies further off than what `probe` was measured for.
        """
        depth = k * max(params[kind].refine for params in self._params) if deep else k
        found = []
        for number, engine in enumerate(self.engines):
            params = self._params[number][kind]
            params = params._replace(probe=int(np.ceil(params.probe * wider)))
            selection = selected.parts[number] if selected is not None else None
            width = k
            if deep:
                params, width = params._replace(refine=1, probe=engine.deep_probe(params.probe)), k * params.refine
            if engine.count:
                found.append((number, engine.search(queries, width, params, selection)))
        return self._joined(found, queries, depth)

    def exact(self, queries: Float[np.ndarray, "queries dim"], k: int, selected: Selected | None = None) -> TopK:
        """The same by scoring every row allowed."""
        found = [
            (number, engine.exact(queries, k, selected.parts[number] if selected is not None else None))
            for number, engine in enumerate(self.engines)
            if engine.count
        ]
        return self._joined(found, queries, k)

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

    def all_vectors(self) -> Float[np.ndarray, "rows dim"]:
        """Every exact vector, without a copy where one engine has them in one piece."""
        return self.engines[0].all_vectors() if len(self.engines) == 1 else self.vectors(np.arange(self.count))

    def _start(self, number: int) -> int:
        return self._ends[number] - self.engines[number].count

    def _joined(self, found: Sequence[tuple[int, TopK]], queries: np.ndarray, k: int) -> TopK:
        whole = TopK(np.full((len(queries), 0), -np.inf, np.float32), np.full((len(queries), 0), -1, np.int64))
        for number, (scores, rows) in found:
            rows = np.where(rows >= 0, rows + self._start(number), -1)
            whole = TopK(scores, rows) if not whole.indices.shape[1] else merged(whole, TopK(scores, rows), k)
        return whole
