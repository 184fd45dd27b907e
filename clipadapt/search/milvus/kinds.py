"""Which index Milvus makes over the vectors, and how much of it a search looks at: chosen by measuring.

    Kind.named("HNSW32")            FLAT, HNSW<links>, IVF<cells>, IVF<cells>,SQ8; "auto" by the number of vectors

milvus-lite makes FLAT alone here: its HNSW and IVF find a tenth to a quarter of what is there under a filter that one
item in 2,000 meets (20,000 vectors of 256 dimensions, milvus-lite 3.2.2), where FLAT finds all. Recall is measured as
for the embedded engine (recall.py), picture and text queries apart, against answers computed here.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Int, Integer

from clipadapt.errors import UsageError
from clipadapt.search.engine import SearchParams
from clipadapt.search.topk import TopK, topk
from clipadapt.search.vector_parts import Matrix

_FEW = 50_000
"""Vectors up to which all are scored: some 10 ms of one core at 256 dimensions."""
_FORM = re.compile(r"(?P<flat>flat)|hnsw(?P<links>[0-9]+)?(,flat)?|ivf(?P<cells>[0-9]+)(,(?P<codes>flat|sq8))?", re.I)
BUILT_WITH = 200
"""Candidates that each node of a graph is linked among (efConstruction)."""


class _Cells(NamedTuple):
    nlist: int


class Kind(NamedTuple):
    """An index of Milvus."""

    name: str
    """As Meta.factory keeps it."""
    index_type: str
    params: dict[str, int]

    @classmethod
    def named(cls, factory: str, count: int, *, lite: bool) -> Self:
        """From its name, or "auto".

        Raises:
            UsageError: Milvus, or milvus-lite, does not have it.
        """
        if factory == "auto":
            factory = "FLAT" if lite or count <= _FEW else "HNSW32"
        match = _FORM.fullmatch(factory.strip())
        if match is None:
            raise UsageError(f"{factory}: no index that Milvus is asked for here; FLAT, HNSW32, IVF1024 or IVF1024,SQ8")
        if match["flat"]:
            return cls("FLAT", "FLAT", {})
        if lite:
            raise UsageError(
                f"{factory}: milvus-lite's finds a tenth of what a narrow filter allows; use FLAT, or a Milvus server"
            )
        if match["cells"]:
            cells, codes = int(match["cells"]), (match["codes"] or "flat").upper()
            if not 1 <= cells <= 65_536:
                raise UsageError(f"{factory}: Milvus takes 1 to 65,536 cells")
            return cls(f"IVF{cells},{codes}", f"IVF_{codes}", {"nlist": cells})
        links = int(match["links"] or 32)
        if not 2 <= links <= 2_048:
            raise UsageError(f"{factory}: Milvus takes 2 to 2,048 links a node")
        return cls(f"HNSW{links}", "HNSW", {"M": links, "efConstruction": BUILT_WITH})

    @property
    def exhaustive(self) -> bool:
        """Whether every vector is scored, so that results are exact."""
        return self.index_type == "FLAT"

    def search_params(self, params: SearchParams, fetch: int) -> dict[str, object]:
        """As a search takes them, for so many results."""
        inner: dict[str, int] = {}
        if self.index_type == "HNSW":
            inner["ef"] = max(params.probe, fetch)
        elif not self.exhaustive:
            wider = max(1.0, np.sqrt(fetch / 40))  # as the embedded engine: deep results lie in further cells
            inner["nprobe"] = min(self.params["nlist"], max(1, round(params.probe * wider)))
        return {"metric_type": "IP", "params": inner}

    def memory(self, count: int, dim: int) -> int:
        """Bytes in memory of a loaded collection's vectors, about: with HNSW the links beside."""
        vector = dim if self.name.endswith("SQ8") else 4 * dim
        return count * (vector + (8 * self.params["M"] if self.index_type == "HNSW" else 0))


Search = Callable[[np.ndarray, int, SearchParams], list[list[tuple[str, float]]]]
"""Queries [q, dim], k and parameters -> ids and scores."""


class Measured:
    """A collection as recall.py measures it: results by row of the vectors that it was made of."""

    def __init__(self, kind: Kind, vectors: Float[Matrix, "rows dim"], rows: dict[str, int], search: Search) -> None:
        self._kind, self._vectors, self._rows, self._search = kind, vectors, rows, search
        self.count, self.dim = vectors.shape
        self.exhaustive, self.refined = kind.exhaustive, False
        self.ivf = _Cells(kind.params["nlist"]) if "nlist" in kind.params else None
        self.graph = kind if kind.index_type == "HNSW" else None
        self.base = kind

    def vectors(self, rows: Integer[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
        """Of some rows."""
        return np.asarray(self._vectors[rows], np.float32)

    def exact(self, queries: Float[np.ndarray, "queries dim"], k: int) -> TopK:
        """By scoring everything, here."""
        return topk(queries, self._vectors, k)

    def search(self, queries: Float[np.ndarray, "queries dim"], k: int, params: SearchParams) -> TopK:
        """As Milvus finds them."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        indices: Int[np.ndarray, "queries k"] = np.full((len(queries), k), -1, np.int64)
        for row, hits in enumerate(self._search(queries, k, params)):
            for place, (item, score) in enumerate(hits[:k]):
                scores[row, place], indices[row, place] = score, self._rows[item]
        return TopK(scores, indices)
