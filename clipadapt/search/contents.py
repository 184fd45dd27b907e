"""What one version of an index holds on disk, and how it is read and written.

    index.faiss, items.parquet, ids.npy         the vectors that were there when the index was built (faiss.read_index,
                                                exact vectors included), row i is vector i, and their ids (ids.py)
    segments/000001.faiss, .parquet, .ids.npy   the same of what came later, in the order that index.json lists them
    tombstones.npy                              vector ids of removed items
    text_queries.npy                            text vectors that recall is measured with
    index.json                                  see meta.py

Vector ids count on through the segments. A version shares the files of the one before by hard links, so a change writes
what is new alone. Knows nothing of searching.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from clipadapt.errors import StoreError, UsageError
from clipadapt.search import meta as index_json
from clipadapt.search.engine import Engine
from clipadapt.search.ids import IdTable
from clipadapt.search.items import ID, Items, first_faults
from clipadapt.search.mapped import blocks
from clipadapt.search.meta import Meta
from clipadapt.search.segments import Segments
from clipadapt.search.vector_parts import Matrix

BASE = "index"
"""Name of the segment that index.faiss is."""
_TOMBSTONES, TEXTS, META = SMALL = "tombstones.npy", "text_queries.npy", "index.json"
_UNIT = 1e-4
"""How far from 1 a vector's length may be before all are normalised again."""


class Segment(NamedTuple):
    """Rows that lie in files of their own, which never change."""

    about: index_json.Segment
    engine: Engine
    table: pa.Table
    """In the types that its columns had when it was written."""
    ids: IdTable

    @property
    def files(self) -> tuple[str, str, str]:
        """Its vectors, items and ids, from the version's folder."""
        return files_of(self.about.name)


class Contents:
    """One version of an index."""

    def __init__(
        self, segments: tuple[Segment, ...], items: Items, meta: Meta, texts: Float[np.ndarray, "texts dim"]
    ) -> None:
        self.segments, self.items, self.texts = segments, items, texts
        self.meta = meta.model_copy(update={"segments": [one.about for one in segments[1:]]})
        self.engine = Segments([one.engine for one in segments], [one.about.search_params for one in segments])

    @property
    def base(self) -> Segment:
        """What was there when the index was built."""
        return self.segments[0]

    @property
    def shards(self) -> Mapping[str, "Contents"]:
        """Itself, by the folder in the version that its files lie in: as an index of several has them (shards.py)."""
        return {"": self}

    def replaced(self, shards: Mapping[str, "Contents"]) -> "Contents":
        """What became of it."""
        return shards[""]

    def stated(self, **meta: str | None) -> "Contents":
        """The same with other lines of index.json."""
        return Contents(self.segments, self.items, self.meta.model_copy(update=meta), self.texts)


def base_segment(engine: Engine, items: Items, meta: Meta) -> Segment:
    """What an index begins with."""
    return Segment(_base(meta, items.rows), engine, items.table, items.lookups()[0][1])


def files_of(name: str) -> tuple[str, str, str]:
    """Files of a segment."""
    if name == BASE:
        return "index.faiss", "items.parquet", "ids.npy"
    return f"segments/{name}.faiss", f"segments/{name}.parquet", f"segments/{name}.ids.npy"


def read(folder: Path, *, mapped: bool, known: Callable[[str], Segment | None] = lambda _: None) -> Contents:
    """From a version's folder.

    Args:
        known: name -> that segment, where it is open already.

    Raises:
        StoreError: a file that is missing, cannot be read, or does not fit the others.
    """
    meta = Meta.read(folder / META)
    try:
        tombstones = np.load(folder / _TOMBSTONES, allow_pickle=False)
        texts = np.load(folder / TEXTS, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder}: cannot be read ({error}); build the index again") from error
    segments: tuple[Segment, ...] = ()
    for about in [_base(meta, -1), *meta.segments]:
        beside = sum(one.engine.count for one in segments) * meta.dim * 4  # half of it where they are halves
        segments += (known(about.name) or _read_segment(folder, about, meta.dim, mapped, beside),)
    return Contents(segments, joined(segments, tombstones), meta, texts)


def joined(segments: tuple[Segment, ...], tombstones: np.ndarray) -> Items:
    """The item table of all segments, rows of `tombstones` marked as removed."""
    parts = [Items(one.table, np.zeros(len(one.table), bool), [(0, one.ids)]) for one in segments]
    items = parts[0]
    for part in parts[1:]:
        items = items.followed_by(part, items.removed)
    removed = np.zeros(items.rows, bool)
    removed[tombstones] = True
    return items.marked(removed)


def write(folder: Path, contents: Contents, *, shared: Callable[[str], bool] = lambda _: False) -> None:
    """Into an empty folder.

    Args:
        shared: called with a file's name; puts it there from where it lies already, or says False.

    Raises:
        OSError: the disk refuses.
    """
    for segment in contents.segments:
        there = [shared(name) for name in segment.files]
        if not all(there):
            write_segment(folder, segment)
    if not shared(TEXTS):
        _save(folder / TEXTS, contents.texts)
    _save(folder / _TOMBSTONES, np.flatnonzero(contents.items.removed))
    (folder / META).write_text(contents.meta.to_json(), encoding="utf-8")


def write_segment(folder: Path, segment: Segment) -> None:
    """A segment's files; those that are there stay.

    Raises:
        OSError: the disk refuses.
    """
    vectors, items, ids = (folder / name for name in segment.files)
    vectors.parent.mkdir(exist_ok=True)
    if not vectors.exists():
        segment.engine.write(vectors)
    if not items.exists():
        pq.write_table(segment.table, items)
    if not ids.exists():
        _save(ids, segment.ids.content)


def _base(meta: Meta, rows: int) -> index_json.Segment:
    return index_json.Segment(
        name=BASE, rows=rows, factory=meta.factory, trained_on=meta.trained_on, faiss=meta.faiss,
        search_params=meta.search_params, measured=meta.measured, memory_bytes=meta.memory_bytes,
    )  # fmt: skip


def _read_segment(folder: Path, about: index_json.Segment, dim: int, mapped: bool, beside: int) -> Segment:
    vectors, items, ids = (folder / name for name in files_of(about.name))
    engine = Engine.read(vectors, mapped=mapped, beside=beside)
    try:
        with pq.ParquetFile(items) as file:  # read_table would import pandas, half a second of a search
            table = file.read().combine_chunks()
        if ids.exists():
            lookup = IdTable(np.load(ids, mmap_mode="r" if mapped else None, allow_pickle=False))
        else:  # written by an older clipadapt
            lookup = IdTable.of(table.column(ID).to_pylist())
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise StoreError(f"{folder}: cannot be read ({error}); build the index again") from error
    rows = engine.count if about.rows < 0 else about.rows
    if not rows == engine.count == len(table) == len(lookup.content[0]) or engine.dim != dim:
        raise StoreError(
            f"{folder}: segment {about.name!r} has {engine.count} vectors of {engine.dim} dimensions, {len(table)} "
            f"items and {len(lookup.content[0])} ids, and index.json says {rows} of {dim}; build the index again"
        )
    return Segment(about.model_copy(update={"rows": rows}), engine, table, lookup)


def goes_on(then: Contents, now: Contents) -> bool:
    """Whether the rows of one version are the first rows of another, whose base is another file."""
    rows = np.arange(then.items.rows)
    same = then.items.table.equals(now.items.table.slice(0, len(rows)))
    return same and np.array_equal(then.engine.vectors(rows), now.engine.vectors(rows))


def unit_vectors(vectors: Matrix, items: Items) -> Matrix:
    """The same directions at unit length; the array itself, mapped or in half precision, when they have it already.

    Args:
        vectors: [rows, dim]

    Raises:
        UsageError: see `unit_lengths`.
    """
    return scaled(vectors, unit_lengths(vectors, items))


def unit_lengths(vectors: Float[Matrix, "rows dim"], items: Items) -> Float[np.ndarray, " rows"] | None:
    """What each vector is to be divided by; None when all have unit length already.

    Raises:
        UsageError: names items whose vector is not finite or has no direction, or counts that do not fit.
    """
    if vectors.ndim != 2 or len(vectors) != items.rows:
        raise UsageError(f"vectors of shape {vectors.shape} for {items.rows} items; give one row per item")
    lengths = np.empty(len(vectors))
    for start, part in blocks(vectors):
        lengths[start : start + len(part)] = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-12)))
    if len(bad):
        why = ["zero length" if lengths[row] == 0 else "not finite" for row in bad]
        faults = [f"row {row}, item {items.id(row)!r}: {what}" for row, what in zip(bad.tolist(), why, strict=True)]
        remedy = "embed these items again, or leave them out"
        raise UsageError(f"{len(bad)} vector(s) have no direction:{first_faults(faults)}\n{remedy}")
    kept = max(_UNIT, float(np.finfo(vectors.dtype).eps))
    return lengths if len(vectors) and np.abs(lengths - 1).max() > kept else None


def scaled(vectors: Float[Matrix, "rows dim"], lengths: Float[np.ndarray, " rows"] | None) -> Float[Matrix, "rows dim"]:
    """Vectors divided by their lengths; themselves where there is nothing to divide by."""
    if lengths is None:
        return vectors
    found = np.empty(vectors.shape, np.float32)
    for start, part in blocks(vectors):
        found[start : start + len(part)] = part / lengths[start : start + len(part), None]
    return found


def _save(file: Path, array: np.ndarray) -> None:
    """Written by Python: NumPy's own writing of a file loses what the system says of a failure."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    file.write_bytes(content.getvalue())
