"""Vectors in parts on disk: what a part is, and many parts as one array.

    content = encoded(vectors, ids, Form("parquet", "float16"))         the bytes of a part
    joined = Joined([PartFile(path, 1024), ...], dim=512)                read where rows are taken, and no earlier
    joined[:4096], joined[[7, 5]], joined.first(256)
    joined.kept()                                                        halves as they are: what an index is built from

NumPy parts are mapped; of Parquet ones (columns `id` and `vector`) the last one read is in memory. Rows come as float32
of unit length: float16 keeps a unit vector to 0.0005 of its length, which bounds what a cosine can differ by.
Knows nothing of items, models or jobs.
"""

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from clipadapt.errors import StoreError
from clipadapt.search.mapped import BLOCK, Rows, large_on_disk

_NOTHING = 1e-12
"""Length under which a vector has no direction."""


class Form(NamedTuple):
    """How vectors lie in a folder."""

    name: Literal["whole", "npy", "parquet"] = "whole"
    """One vectors.npy, or parts."""
    dtype: Literal["float32", "float16"] = "float32"

    @property
    def suffix(self) -> str:
        """Of a part's file."""
        return ".parquet" if self.name == "parquet" else ".npy"


class PartFile(NamedTuple):
    """A part, and how many vectors it is known to hold."""

    path: Path
    rows: int


def encoded(vectors: Float[np.ndarray, "rows dim"], ids: Sequence[str], form: Form) -> bytes:
    """A part's content."""
    kept = np.ascontiguousarray(vectors, form.dtype)
    content = io.BytesIO()
    if form.name == "parquet":
        cells = pa.FixedSizeListArray.from_arrays(pa.array(kept.reshape(-1)), kept.shape[1])
        table = pa.table({"id": pa.array(ids, pa.string()), "vector": cells})
        pq.write_table(table, content, use_dictionary=False)
    else:
        np.save(content, kept, allow_pickle=False)
    return content.getvalue()


def read_part(path: Path) -> Float[np.ndarray, "rows dim"]:
    """Its vectors as they are kept; NumPy's stay on disk until they are read.

    Raises:
        StoreError: it is missing, or no part.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with pq.ParquetFile(path) as file:
            cells = file.read(["vector"]).column("vector").combine_chunks()
        return cells.flatten().to_numpy(zero_copy_only=False).reshape(len(cells), cells.type.list_size)
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read ({error}); run clipadapt embed as before") from error


def unit(vectors: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
    """The same directions at unit length; a vector without one stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > _NOTHING, lengths, 1.0)


class Joined:
    """The rows of parts, one after the other, as an array that is only read; what is taken is a copy in memory.

    joined[3:9], joined[[5, 2, 2]], joined[mask]      float32 [rows, dim], of unit length
    joined[3]                                         float32 [dim]
    joined.kept()[3:9]                                float16 [rows, dim], bit for bit as parts of halves hold them
    np.asarray(joined)                                all of it in memory

    Parts may differ in precision, since their rows become float32. Where all are known to be halves, one that is not
    was put there later: `kept` refuses it by its name, for float32 would be rounded unnoticed.
    """

    ndim = 2

    def __init__(
        self,
        parts: Sequence[PartFile],
        dim: int,
        first: int | None = None,
        *,
        halves: bool = False,
    ) -> None:
        """`first`: how many of a vector's `dim` dimensions are kept, at unit length; None: all.

        `halves`: whether all parts are known to be in half precision.
        """
        self._parts, self._whole, self._first, self._halves = tuple(parts), dim, first, halves
        self._starts = np.cumsum([0, *(part.rows for part in parts)])
        self._read: tuple[int, np.ndarray] | None = None
        self.dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return int(self._starts[-1]), self._first or self._whole

    def __len__(self) -> int:
        return self.shape[0]

    def first(self, dim: int) -> "Joined":
        """The first dimensions alone, at unit length again: in float32, for halves would be rounded a second time."""
        return Joined(self._parts, self._whole, dim)

    def kept(self) -> "Joined":
        """In half precision where all parts are: of unit length but for the rounding. Else, and once cut, itself."""
        if not self._halves:
            return self
        found = Joined(self._parts, self._whole, halves=True)
        found.dtype = np.dtype(np.float16)
        return found

    def in_one(self, folder: Path) -> Rows:
        """Its rows in one file, mapped or, where it is large, read, for what takes rows from here and there many times.

        That is the part itself where there is one, of NumPy, as its rows come; else a copy in `folder`, which is made
        if need be. The copy has no name, and goes with the array or the process.

        Raises:
            OSError: the disk refuses.
            StoreError: a part cannot be read, or is not what it was.
        """
        filled = [number for number, part in enumerate(self._parts) if part.rows]
        if not filled:
            return np.empty(self.shape, self.dtype)
        part = self._part(filled[0])
        if len(filled) == 1 and self._first is None and isinstance(part, np.memmap) and part.dtype == self.dtype:
            return part
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, len(self), BLOCK):
                file.write(np.ascontiguousarray(self[start : start + BLOCK]).data)
            file.flush()
            whole = np.memmap(file, self.dtype, "r", shape=self.shape)
            rows = large_on_disk(whole, file.fileno())
            return whole if rows is None else rows

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: slice | int | Sequence[int] | np.ndarray) -> Float[np.ndarray, "*some dim"]:
        """Raises:
        IndexError: a row that is not there.
        StoreError: a part cannot be read, or is not what it was.
        """
        wanted = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else self._numbers(rows)
        flat = wanted.reshape(-1)
        order = np.argsort(flat, kind="stable")
        bounds = np.searchsorted(flat[order], self._starts)
        taken = np.empty((len(flat), self.shape[1]), self.dtype)
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            places = order[bounds[number] : bounds[number + 1]]
            taken[places] = self._unit(self._part(number)[flat[places] - self._starts[number]])
        return taken.reshape(*wanted.shape, self.shape[1])

    def _numbers(self, rows: int | Sequence[int] | np.ndarray) -> np.ndarray:
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            if numbers.shape != (len(self),):
                raise IndexError(f"a mask of shape {numbers.shape} for {len(self)} rows")
            return np.flatnonzero(numbers)
        if not numbers.size:
            return numbers.astype(np.int64)
        if numbers.dtype.kind not in "iu" or numbers.min() < -len(self) or numbers.max() >= len(self):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {len(self)}")
        return np.where(numbers < 0, numbers + len(self), numbers)

    def _unit(self, vectors: np.ndarray) -> np.ndarray:
        if self._first is None and vectors.dtype == self.dtype:
            return vectors
        return unit(np.asarray(vectors[:, : self._first], np.float32))

    def _part(self, number: int) -> np.ndarray:
        last = self._read
        if last is None or last[0] != number:
            part = self._parts[number]
            vectors = read_part(part.path)
            if vectors.shape != (part.rows, self._whole):
                raise StoreError(
                    f"{part.path}: vectors of shape {vectors.shape}, not {(part.rows, self._whole)}: it was changed "
                    "after it was written; run clipadapt embed as before"
                )
            if self.dtype == np.float16 and vectors.dtype != np.float16:
                raise StoreError(
                    f"{part.path}: vectors of {vectors.dtype}, not float16 as its folder says: it was changed after it "
                    "was written; run clipadapt embed as before"
                )
            self._read = last = number, vectors
        return last[1]


Matrix = np.ndarray | Joined
"""Vectors in memory, mapped, or in parts; all of them can be sliced and taken from by number."""
