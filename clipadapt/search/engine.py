"""Nearest vectors by inner product through FAISS: flat, inverted lists, graphs, scalar and product quantisation.

    engine = Engine.build(vectors, "IVF1024,SQ8,RFlat")
    engine.search(queries, 10, SearchParams(probe=16, refine=4), selection)      # vector ids and exact scores

Every factory keeps the exact vectors inside (as Flat, or behind a quantiser), so one file holds everything: scores are
exact, and recall can be measured and the index rebuilt from it alone. The trade: disk for certainty; what must be in
memory is the quantised part, for the file is mapped and exact vectors are read a few at a time. Where they are kept in
half precision, an index is built without them in memory: the source stands for them until the file is written.

A selection restricts a search. FAISS's own filter loses results, since the cells or the graph region next to a query
may hold no match at all. Here a filtered search looks at as many *matching* candidates as an unfiltered one looks at
candidates: cells without a match are passed over, and when few items match they are all scored exactly.
Knows nothing of items, products or files but the one it writes.
"""

from pathlib import Path
from typing import Any, NamedTuple, Self

import faiss as swig
import numpy as np
from jaxtyping import Float, Int, Integer

from clipadapt.errors import StoreError
from clipadapt.search import faiss_file
from clipadapt.search.factory import check_factory, keeps_halves
from clipadapt.search.mapped import Rows, blocks, gathered, halves, large_on_disk, unmapped
from clipadapt.search.selection import Selection
from clipadapt.search.topk import TopK, best_first, padded, topk

faiss: Any = swig  # its classes get most of their methods at run time
FAISS = str(faiss.__version__)

AT = 10
"""Recall is measured of so many best."""
USUAL = 64
"""Candidates per result that a coarse quantiser is measured with first."""
_FEW = 4096
"""Up to so many matches are scored exactly: under 10 ms at 512 dimensions."""
_DEEP = 32
"""One in so many cells is looked into at least where a ranking is read far down. Of a million vectors, 80 results of
queries with wishes were found to 0.99 so, and to 0.89 with the cells that the nearest ten need."""
_NEAR = 32
"""Cells kept on a walk to the nearest one, where a vector is added: 98% come into it. A search compares every cell,
which takes less time than a walk to some hundred of them and misses none. Source: eval/LOG.md, "Cells of large
indexes"."""
_TOGETHER = 256
"""Queries whose cells are compared at once: 16 MB for 16,384 cells."""
_TRAINING, _ENOUGH, _LEAST = 64, 1 << 19, 39
"""Training vectors per cell: more moved recall by less than 0.001. From half a million vectors on no more than FAISS
asks for at least, since k-means takes most of the time of building a large index."""


class SearchParams(NamedTuple):
    """How much of the index one search looks at; chosen by measuring, see recall.py."""

    probe: int
    """Cells looked into (nprobe) or nodes kept (efSearch); not used by a factory that looks at everything."""
    refine: int
    """Quantised candidates scored exactly per result wanted; 1 where scores are exact anyway."""

    def candidates(self, k: int) -> int:
        """Quantised candidates scored exactly for k results: beyond AT, which are measured, USUAL a result will do."""
        return max(k * min(self.refine, USUAL), min(k, AT) * self.refine)


class Engine:
    """A FAISS index and what is known of its inside."""

    def __init__(self, index: Any) -> None:
        self.index = index
        self.base: Any = faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index
        self.refined = self.base is not index
        self.ivf: Any = self.base if isinstance(self.base, faiss.IndexIVF) else None
        self.graph: Any = self.base if isinstance(self.base, faiss.IndexHNSW) else None
        nearest = None if self.ivf is None else faiss.downcast_index(self.ivf.quantizer)
        self._nearest: Any = nearest if isinstance(nearest, faiss.IndexHNSW) else None
        """The graph of cells, where they are looked for in one."""
        self._flat = self._exact_part()
        self._halves: Rows | None = None
        """Exact vectors while they are not in FAISS's memory."""
        self._on_disk: Rows | None = None
        """Exact vectors that are read from the file without its pages coming into memory."""
        self._cell_of: np.ndarray | None = None
        self._centroids: np.ndarray | None = None

    @classmethod
    def build(cls, vectors: Rows, factory: str, seed: int = 0) -> Self:
        """Trains on a sample and adds every vector; unit length is the caller's to see to.

        A factory with halves reads exact vectors from `vectors` until the index is written, and takes no more of them.

        Raises:
            UsageError: the factory, see check_factory.
        """
        count, dim = vectors.shape
        check_factory(factory, count, dim)
        engine = cls(faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT))
        if engine.ivf is not None:
            engine.ivf.cp.seed, engine.ivf.cp.max_points_per_centroid = seed, _TRAINING
        if engine.graph is not None:
            engine.graph.hnsw.efConstruction = 80
        if (quantiser := getattr(engine.base, "pq", None)) is not None:
            quantiser.cp.niter, quantiser.cp.max_points_per_centroid = 10, 2 * _TRAINING
            if hasattr(engine.base, "do_polysemous_training"):
                engine.base.do_polysemous_training = False  # minutes, for a search mode that is not used here
        if engine._nearest is not None:
            engine._nearest.hnsw.efConstruction, engine._nearest.hnsw.efSearch = 80, _NEAR
        if not engine.index.is_trained:
            cells = engine.ivf.nlist if engine.ivf is not None else 0
            wanted = max(min(_TRAINING * cells, _ENOUGH), _LEAST * cells, 65_536)
            chosen = np.random.default_rng(seed).permutation(count)[:wanted]
            engine.index.train(gathered(vectors, np.sort(chosen)))
        if keeps_halves(factory):
            for _, part in blocks(vectors):
                engine.base.add(part)
            engine._halves = unmapped(halves(vectors))
            engine.index.ntotal = engine._flat.ntotal = count
        else:
            engine.add(vectors)
        return engine

    @classmethod
    def read(cls, path: Path, *, mapped: bool = True, beside: int = 0) -> Self:
        """From a file; mapped, its pages come into memory as they are used, and nothing can be added.

        Args:
            beside: bytes of exact vectors that the same index has in other files.

        Raises:
            StoreError: not a FAISS index of ours.
        """
        try:
            engine = cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0))
        except RuntimeError as error:
            raise StoreError(f"{path}: FAISS cannot read it ({_first_line(error)}); build the index again") from error
        view = engine._view() if engine._flat is not None else None
        if mapped and isinstance(view, np.ndarray):
            engine._on_disk = large_on_disk(view, path, beside if engine.refined else 0)
        return engine

    def set_default_params(self, params: SearchParams) -> None:
        """What stock FAISS searches with after reading the file, unless it is given others."""
        if self.ivf is not None:
            self.ivf.nprobe = max(1, min(params.probe, self.ivf.nlist))
        if self.graph is not None:
            self.graph.hnsw.efSearch = max(1, params.probe)
        if self.refined:
            self.index.k_factor = float(params.refine)

    def size(self) -> int:
        """Bytes of the one file."""
        return faiss_file.size(self.index, self._halves)

    def write(self, path: Path) -> None:
        """The one file.

        Raises:
            OSError: the disk refuses.
        """
        faiss_file.write(self.index, path, self._halves)

    @property
    def count(self) -> int:
        return int(self.index.ntotal)

    @property
    def dim(self) -> int:
        return int(self.index.d)

    @property
    def exhaustive(self) -> bool:
        """Whether every search is exact."""
        return self.index is self._flat

    def deep_probe(self, probe: int) -> int:
        """Cells for a search that reads far down its ranking."""
        return probe if self.ivf is None else max(probe, self.ivf.nlist // _DEEP)

    def memory(self) -> int:
        """Bytes a mapped index needs in memory: the file but for exact vectors behind a quantiser."""
        return faiss_file.size(self.base)

    def add(self, vectors: Rows) -> None:
        """Appends, in blocks; the first new vector's id is the old count."""
        assert self._halves is None, "the exact vectors are elsewhere until the index is read from its file"
        for _, part in blocks(vectors):
            self.index.add(part)
        self._cell_of = None

    def all_vectors(self) -> Rows:
        """Every exact vector, as they are kept, without a copy where they lie in one piece."""
        return self.vectors(np.arange(self.count)) if self._flat is None else self._view()

    def vectors(self, rows: Integer[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
        """Exact vectors by id."""
        if self._flat is not None:
            return np.asarray(self._view()[rows], np.float32)
        if self.ivf.direct_map.type == faiss.DirectMap.NoMap:
            self.ivf.make_direct_map()
        return self.ivf.reconstruct_batch(np.ascontiguousarray(rows, np.int64))

    def search(
        self,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        params: SearchParams,
        selection: Selection | None = None,
    ) -> TopK:
        """The k best of each query with exact scores, best first; -1 where fewer than k were found."""
        queries = np.ascontiguousarray(queries, np.float32)
        matches = self.count if selection is None else selection.count
        wanted = min(k, matches)
        if wanted < 1 or not len(queries):
            return TopK(np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64))
        if self.ivf is None and self.graph is None and (self.exhaustive or selection is not None):
            return padded(self.exact(queries, wanted, selection), k)
        if (selection is not None and matches <= _FEW) or wanted * 4 > matches:
            return padded(self.exact(queries, wanted, selection), k)
        found = self._approximate(queries, wanted, params, selection)
        short = _short(found)
        while len(short) and self.ivf is not None and params.probe < self.ivf.nlist:
            # The nearest cells hold too few. More of them are looked into and not everything: a search that falls back
            # to everything is slow, and its recall of 1 would make so few cells look enough when they are chosen.
            params = params._replace(probe=min(4 * max(params.probe, 1), self.ivf.nlist))
            _put(found, short, self._approximate(queries[short], wanted, params, selection))
            short = _short(found)
        if len(short):
            _put(found, short, self.exact(queries[short], wanted, selection))
        return padded(found, k)

    def exact(self, queries: Float[np.ndarray, "queries dim"], k: int, selection: Selection | None = None) -> TopK:
        """The same by scoring every vector allowed: the reference of recall, and what a search does when few match."""
        if self._flat is None:
            everywhere = faiss.SearchParametersIVF(nprobe=self.ivf.nlist, **_selected(selection))
            return best_first(*self.ivf.search(queries, k, params=everywhere))
        single = isinstance(self._flat, faiss.IndexFlat) and self._on_disk is None
        if single and selection is not None and selection.count * 8 < self.count:
            options = faiss.SearchParameters(sel=faiss.IDSelectorArray(selection.rows))
            return best_first(*self._flat.search(queries, k, params=options))
        return topk(queries, self._view(), k, allowed=None if selection is None else selection.mask)

    def _approximate(self, queries: np.ndarray, k: int, params: SearchParams, selection: Selection | None) -> TopK:
        wide = min(params.candidates(k), self.count) if self.refined else k
        if self.ivf is not None:
            scores, ids = self._in_cells(queries, wide, params.probe, selection)
        elif self.graph is not None:
            scores, ids = self._walk(queries, wide, params, selection)
        else:
            scores, ids = self.base.search(queries, wide)
        return self._rescored(queries, ids, k) if self.refined else best_first(scores, ids)

    def _in_cells(
        self, queries: np.ndarray, k: int, probe: int, selection: Selection | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best of the nearest cells."""
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _TOGETHER):
            own = slice(start, start + _TOGETHER)
            closeness = _products(queries[own], self._centres())
            if selection is None:
                cells = _largest(closeness, min(max(1, probe), self.ivf.nlist))
            else:
                cells = self._cells_with_matches(closeness, k, probe, selection)
            closeness = np.take_along_axis(closeness, cells, axis=1)
            some = np.ascontiguousarray(queries[own])
            self.ivf.search_preassigned_c(
                len(some), faiss.swig_ptr(some), k,
                *map(faiss.swig_ptr, (cells, closeness, scores[own], ids[own])),
                False, faiss.SearchParametersIVF(nprobe=cells.shape[1], **_selected(selection)),
            )  # fmt: skip
        return scores, ids

    def _cells_with_matches(
        self, closeness: np.ndarray, k: int, probe: int, selection: Selection
    ) -> Int[np.ndarray, "queries cells"]:
        """The nearest cells that hold a match, as many as it takes to meet enough matches; -1 after them."""
        matches = selection.per_cell(self._cells_of_rows(), self.ivf.nlist)
        budget = max(probe * self.count / self.ivf.nlist * _surplus(selection.count / self.count), 2 * k)
        closeness[:, matches == 0] = -np.inf
        order = np.argsort(-closeness, axis=1)
        enough = (np.cumsum(matches[order], axis=1) < budget).sum(axis=1) + 1
        width = min(int(enough.max()), int(np.count_nonzero(matches)))
        return np.where(np.arange(width) < enough[:, None], order[:, :width], -1)

    def _walk(
        self, queries: np.ndarray, k: int, params: SearchParams, selection: Selection | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A walk through the graph, wider until it has met as many matches as an unfiltered one meets nodes."""
        width = max(params.probe, k)
        if selection is None:
            return self.graph.search(queries, k, params=faiss.SearchParametersHNSW(efSearch=width))
        enough = min(width, selection.count)
        selector = selection.bitmap()
        while True:
            width *= 2
            options = faiss.SearchParametersHNSW(efSearch=width, sel=selector)
            scores, ids = self.graph.search(queries, max(k, enough), params=options)
            if (ids >= 0).all():
                return scores[:, :k], ids[:, :k]
            if width * 16 > self.count:  # costs as much as scoring every match, which search() does where results lack
                return scores[:, :k], np.where((ids >= 0).all(axis=1, keepdims=True), ids[:, :k], -1)

    def _rescored(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> TopK:
        view = self._view()
        found = TopK(np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64))
        for row, (query, ids) in enumerate(zip(queries, candidates, strict=True)):
            ids = np.sort(ids[ids >= 0])
            scores = np.asarray(view[ids], np.float32) @ query
            best = np.argsort(-scores, kind="stable")[:k]
            found.scores[row, : len(best)], found.indices[row, : len(best)] = scores[best], ids[best]
        return found

    def _exact_part(self) -> Any:
        if isinstance(self.index, faiss.IndexRefine):
            return faiss.downcast_index(self.index.refine_index)
        if self.graph is not None:
            return faiss.downcast_index(self.graph.storage)
        return None if self.ivf is not None else self.index

    def _view(self) -> Rows:
        """The exact vectors without a copy, mapped where the file is, or read as they are asked for."""
        if (elsewhere := self._on_disk if self._halves is None else self._halves) is not None:
            return elsewhere
        if not self.count:
            return np.empty((0, self.dim), np.float32)
        if isinstance(self._flat, faiss.IndexScalarQuantizer):
            content = faiss.rev_swig_ptr(self._flat.codes.data(), 2 * self.count * self.dim)
            return content.view("<f2").reshape(self.count, self.dim)
        return faiss.rev_swig_ptr(self._flat.get_xb(), self.count * self.dim).reshape(self.count, self.dim)

    def _centres(self) -> Float[np.ndarray, "cells dim"]:
        if self._centroids is None:
            centres: np.ndarray = self.ivf.quantizer.reconstruct_n(0, self.ivf.nlist)
            self._centroids = centres
        return self._centroids

    def _cells_of_rows(self) -> Int[np.ndarray, " rows"]:
        if self._cell_of is None:
            lists = self.ivf.invlists
            self._cell_of = np.empty(self.count, np.int32)
            for cell in range(self.ivf.nlist):
                size = lists.list_size(cell)
                if size:
                    self._cell_of[faiss.rev_swig_ptr(lists.get_ids(cell), size)] = cell
        return self._cell_of


def _surplus(share: float) -> float:
    """Matching candidates that a filtered search needs, over candidates of an unfiltered one with equal recall.

    Neighbours among few items lie further off, in more cells, but fewer candidates compete. Measured
    on 200,000 vectors for recall 0.99: 0.8 to 1.7 where half the items match, 0.2 to 0.3 where one in twenty does, the
    larger where the filter keeps whole clusters. eval/benchmarks/index_filtered.py checks what comes of it.
    """
    return 2.66 * share**0.67 if share < 0.5 else 1 + 1.34 * (1 - share)


def _products(queries: np.ndarray, centres: np.ndarray) -> Float[np.ndarray, "queries cells"]:
    """Inner products; of few queries on one core: waking a second costs more than it does."""
    return np.einsum("qd,cd->qc", queries, centres) if len(queries) < 8 else queries @ centres.T


def _largest(values: np.ndarray, count: int) -> Int[np.ndarray, "queries count"]:
    """Places of the largest of each row, the largest first."""
    if count < values.shape[1]:
        places = np.argpartition(-values, count - 1, axis=1)[:, :count]
    else:
        places = np.broadcast_to(np.arange(count), values.shape)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1)
    return np.take_along_axis(places, order, axis=1)


def _selected(selection: Selection | None) -> dict[str, Any]:
    return {} if selection is None else {"sel": selection.bitmap()}


def _short(found: TopK) -> Int[np.ndarray, " short"]:
    """Queries with fewer results than were wanted."""
    return np.flatnonzero((found.indices < 0).any(axis=1))


def _put(found: TopK, places: Int[np.ndarray, " some"], others: TopK) -> None:
    """Other results for some queries, in place."""
    found.scores[places], found.indices[places] = others


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
