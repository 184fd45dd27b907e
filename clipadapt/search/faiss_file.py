"""FAISS's file of an index, written through Python, so that a full disk is the system's own error.

    write(index, path);  write(index, path, rows)          `rows`: half-precision vectors that lie elsewhere

The exact vectors of a large index need not be in memory to be written: FAISS writes an IndexRefine whose second part is
still empty, and where that says how many bytes follow, they follow from `rows`, block by block. What comes of it is
read by faiss.read_index. Knows nothing of searching.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss as swig
import numpy as np

from clipadapt.search.mapped import BLOCK, Rows, release

faiss: Any = swig
_CHUNK = 1 << 22
_COUNT, _K_FACTOR = 8, 4
"""Bytes at the end of an IndexRefine: how many the exact part has, those, and a float."""


def size(index: Any, rows: Rows | None = None) -> int:
    """Bytes of the file."""
    sizes: list[int] = []

    def count(content: bytes) -> int:
        sizes.append(len(content))
        return len(content)

    faiss.write_index(index, faiss.PyCallbackIOWriter(count, _CHUNK))
    return sum(sizes) + (2 * len(rows) * rows.shape[1] if rows is not None else 0)


def write(index: Any, path: Path, rows: Rows | None = None) -> None:
    """The file.

    Args:
        rows: exact vectors of an IndexRefine whose refine_index has none of its own, kept in half precision.

    Raises:
        OSError: the disk refuses.
    """
    with path.open("wb") as file:
        written = _AllButEnd(file.write, _COUNT + _K_FACTOR if rows is not None else 0)
        _through_python(index, written.put)
        if rows is not None:
            assert int.from_bytes(written.end[:_COUNT], "little") == 0, "the exact vectors are there already"
            file.write((2 * len(rows) * rows.shape[1]).to_bytes(_COUNT, "little"))
            for start in range(0, len(rows), BLOCK):
                file.write(np.ascontiguousarray(rows[start : start + BLOCK], "<f2").data)
                release(rows)
            file.write(written.end[_COUNT:])


class _AllButEnd:
    """Passes bytes on, but for the last few."""

    def __init__(self, pass_on: Callable[[bytes], int], last: int) -> None:
        self.end, self._pass_on, self._last = b"", pass_on, last

    def put(self, content: bytes) -> int:
        whole = self.end + content
        ready = max(len(whole) - self._last, 0)
        self.end = whole[ready:]
        self._pass_on(whole[:ready])
        return len(content)


def _through_python(index: Any, put: Callable[[bytes], int]) -> None:
    refusal: list[OSError] = []

    def kept(content: bytes) -> int:
        try:
            return put(content)
        except OSError as error:  # must not cross FAISS: it would be lost there
            refusal.append(error)
            return 0

    try:
        faiss.write_index(index, faiss.PyCallbackIOWriter(kept, _CHUNK))
    except RuntimeError:
        if not refusal:
            raise
    if refusal:
        raise refusal[0]
