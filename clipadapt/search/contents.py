"""What one version of an index holds on disk, and how it is read and written.

    index.faiss         faiss.read_index reads it; exact vectors included
    items.parquet       row i is vector i: vector, id, product, every other column
    tombstones.npy      vector ids of removed items
    text_queries.npy    text vectors that recall is measured with
    index.json          see meta.py

A version that keeps the vectors of the one before shares its files by hard links. Knows nothing of searching.
"""

import io
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from clipadapt.errors import StoreError, UsageError
from clipadapt.search.engine import Engine
from clipadapt.search.items import Items, first_faults
from clipadapt.search.meta import Meta
from clipadapt.search.topk import BLOCK

_VECTORS, _ITEMS, _TOMBSTONES, _TEXTS, _META = (
    "index.faiss", "items.parquet", "tombstones.npy", "text_queries.npy", "index.json",
)  # fmt: skip
_UNIT = 1e-4
"""How far from 1 a vector's length may be before all are normalised again."""


class Contents(NamedTuple):
    """One version of an index."""

    engine: Engine
    items: Items
    meta: Meta
    texts: Float[np.ndarray, "texts dim"]


def read(folder: Path, *, mapped: bool) -> Contents:
    """From a version's folder.

    Raises:
        StoreError: a file that is missing, cannot be read, or does not fit the others.
    """
    meta = Meta.read(folder / _META)
    engine = Engine.read(folder / _VECTORS, mapped=mapped)
    try:
        with pq.ParquetFile(folder / _ITEMS) as file:  # read_table would import pandas, half a second of a search
            table = file.read()
        tombstones = np.load(folder / _TOMBSTONES, allow_pickle=False)
        texts = np.load(folder / _TEXTS, allow_pickle=False)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise StoreError(f"{folder}: cannot be read ({error}); build the index again") from error
    if not engine.count == len(table) or engine.dim != meta.dim:
        raise StoreError(
            f"{folder}: {engine.count} vectors of {engine.dim} dimensions, {len(table)} items, and an index.json "
            f"that says {meta.dim} dimensions; build the index again"
        )
    removed = np.zeros(len(table), bool)
    removed[tombstones] = True
    return Contents(engine, Items(table, removed), meta, texts)


def write(folder: Path, contents: Contents, *, same_vectors: Path | None = None) -> None:
    """Into an empty folder; `same_vectors` is a version whose vectors, items and texts these still are.

    Raises:
        OSError: the disk refuses.
    """
    if same_vectors is not None:
        for name in (_VECTORS, _ITEMS, _TEXTS):
            _link(same_vectors / name, folder / name)
    else:
        contents.engine.write(folder / _VECTORS)
        pq.write_table(contents.items.table, folder / _ITEMS)
        _save(folder / _TEXTS, contents.texts)
    _save(folder / _TOMBSTONES, np.flatnonzero(contents.items.removed))
    (folder / _META).write_text(contents.meta.to_json(), encoding="utf-8")


def unit_vectors(vectors: Float[np.ndarray, "rows dim"], items: Items) -> Float[np.ndarray, "rows dim"]:
    """The same directions at unit length; the array itself when they have it already.

    Raises:
        UsageError: names items whose vector is not finite or has no direction, or counts that do not fit.
    """
    if vectors.ndim != 2 or len(vectors) != items.rows:
        raise UsageError(f"vectors of shape {vectors.shape} for {items.rows} items; give one row per item")
    lengths = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        part = np.asarray(vectors[start : start + BLOCK], np.float32)
        lengths[start : start + len(part)] = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-12)))
    if len(bad):
        why = ["zero length" if lengths[row] == 0 else "not finite" for row in bad]
        faults = [f"row {row}, item {items.id(row)!r}: {what}" for row, what in zip(bad.tolist(), why, strict=True)]
        remedy = "embed these items again, or leave them out"
        raise UsageError(f"{len(bad)} vector(s) have no direction:{first_faults(faults)}\n{remedy}")
    if len(vectors) and np.abs(lengths - 1).max() > _UNIT:
        return (np.asarray(vectors, np.float32) / lengths[:, None]).astype(np.float32)
    return vectors


def _save(file: Path, array: np.ndarray) -> None:
    """Written by Python: NumPy's own writing of a file loses what the system says of a failure."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    file.write_bytes(content.getvalue())


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
