"""Vectors read block by block, without their file filling this process's memory.

    for start, part in blocks(vectors): ...          float32, as many rows as BLOCK

Pages of a mapped file that were read stay with the process until the system wants them back: a build that reads 10 M
vectors a few times would look as large as the file, and be so where memory is limited. Here they are let go of as soon
as a block was used; they stay in the system's cache. Knows nothing of what vectors are for.
"""

import mmap
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

BLOCK = 1 << 17
"""Rows per block: 256 MB of 512 floats."""


@runtime_checkable
class Rows(Protocol):
    """Vectors as an array holds them, or as something that reads them when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


def blocks(vectors: Rows, size: int = BLOCK) -> Iterator[tuple[int, Float[np.ndarray, "some dim"]]]:
    """First row and content of each block, in order."""
    for start in range(0, len(vectors), size):
        yield start, np.ascontiguousarray(vectors[start : start + size], np.float32)
        release(vectors)


def gathered(vectors: Rows, rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some dim"]:
    """Some rows, in rising order; of a mapped file a run after the other."""
    found = np.empty((len(rows), vectors.shape[1]), np.float32)
    for first in range(0, len(vectors), BLOCK):
        own = slice(*np.searchsorted(rows, (first, first + BLOCK)))
        found[own] = vectors[rows[own]]
        release(vectors)
    return found


def halves(vectors: Rows) -> Rows:
    """The same in half precision; what is so already stays where it is."""
    if vectors.dtype == np.float16:
        return vectors
    found = np.empty(vectors.shape, np.float16)
    for start, part in blocks(vectors):
        found[start : start + len(part)] = part
    return found


def release(vectors: Rows) -> None:
    """Lets go of the pages of a file that is mapped for reading; whatever else `vectors` is stays as it is."""
    inside, reading = vectors, False  # what others mapped may be of no file, and lost with its pages
    while isinstance(inside, np.ndarray) and inside.base is not None:
        if isinstance(inside, np.memmap):
            reading = inside.mode == "r"
        inside = inside.base
    if reading and isinstance(inside, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        inside.madvise(mmap.MADV_DONTNEED)
