"""Vectors read block by block, without their file filling this process's memory.

    for start, part in blocks(vectors): ...          float32, as many rows as BLOCK

Pages of a mapped file that were read stay with the process until the system wants them back: a build that reads 10 M
vectors a few times would look as large as the file, and be so where memory is limited. Here they are let go of as soon
as a block was used; they stay in the system's cache. Those of a large index that is searched do not come into it at
all. Knows nothing of what vectors are for.
"""

import ctypes
import functools
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

BLOCK = 1 << 17
"""Rows per block: 256 MB of 512 floats."""
MOST = 512 << 20
"""Bytes of exact vectors that a searching process may hold in its memory."""
_MAPS = Path("/proc/self/maps")


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


class FileRows:
    """Rows that lie in a file, as an array of them would be read: by rows and slices, into memory of their own.

    Rows of a mapped file are read quicker, 640 of 512 bytes in 0.3 ms instead of 1.1, but Linux maps 64 kB to 2 MB for
    each: after a few searches all of a large index would be in its process's memory, and so count against its limit.
    """

    def __init__(self, file: Path | int, offset: int, shape: tuple[int, int], dtype: np.dtype) -> None:
        """Of a file that is there now; it may be unlinked later.

        Args:
            file: or a descriptor of it, which is the caller's to close.
            offset: of the first row, in bytes.

        Raises:
            OSError: it cannot be opened.
        """
        self._file = os.dup(file) if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self._name, self._offset = file if isinstance(file, Path) else "a file without a name", offset
        weakref.finalize(self, os.close, self._file)
        self.shape, self.dtype = shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray:
        """[some, dim], of the file's own type.

        Raises:
            IndexError: a row that is not there.
            OSError: the file is shorter than it was, or the disk fails.
        """
        if isinstance(rows, slice):
            start, end, step = rows.indices(len(self))
            if step != 1:
                return self[np.arange(start, end, step)]
            found = np.empty((max(end - start, 0), self.shape[1]), self.dtype)
            self._read(found, start)
            return found
        wanted = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows from {wanted.min()} to {wanted.max()} of {len(self)}")
        found = np.empty((len(wanted), self.shape[1]), self.dtype)
        row, size = found.strides[0], found.strides[0]
        start, number = found.ctypes.data, self._file
        read = _pread()
        for place, wish in enumerate(wanted.tolist()):
            if read(number, start + place * row, size, self._offset + wish * row) != size:
                self._read(found[place : place + 1], wish)
        return found

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def _read(self, found: np.ndarray, start: int) -> None:
        """Rows in one piece, from row `start` on."""
        rest = found.reshape(-1).view(np.uint8).data
        at = self._offset + start * found.strides[0]
        while rest:
            size = os.preadv(self._file, [rest], at)
            if not size:
                raise OSError(f"{self._name}: ends before row {start + len(found)}; build the index again")
            rest, at = rest[size:], at + size


def large_on_disk(content: np.ndarray, file: Path | int, beside: int = 0) -> FileRows | None:
    """The rows of an array that is mapped, read from the file; None where that is of no use, or they lie elsewhere.

    What was read through the mapping until now is let go of.

    Args:
        content: in one piece.
        file: or a descriptor of it.
        beside: bytes that are in memory, or would be, with these.
    """
    found = _mapping(content) if content.nbytes + beside > MOST else None
    if found is None:
        return None
    start, size = content.__array_interface__["data"][0], found.last - found.first
    ctypes.CDLL(None).madvise(ctypes.c_void_p(found.first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
    return FileRows(file, found.offset + start - found.first, content.shape, content.dtype)


def unmapped(vectors: Rows) -> Rows:
    """The same, read from its file where it is a large array that NumPy mapped from one; else itself."""
    if not isinstance(vectors, np.memmap) or vectors.filename is None or not vectors.flags.c_contiguous:
        return vectors
    try:
        file = os.open(vectors.filename, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it was unlinked since; the mapping holds it
        return vectors
    try:
        mapping = _mapping(vectors)
        same = mapping is not None and mapping.inode == os.fstat(file).st_ino  # else another took its name
        found = large_on_disk(vectors, file) if same else None
    finally:
        os.close(file)
    return vectors if found is None else found


class _Mapping(NamedTuple):
    """Where a file lies in memory: first and last address, and where in the file that begins."""

    first: int
    last: int
    offset: int
    inode: int


def _mapping(content: np.ndarray) -> _Mapping | None:
    """That of the file which an array is mapped from.

    None where memory is of no file, or may be written to, for what is let go of would be lost; and where the system
    does not say it as Linux does.
    """
    start = content.__array_interface__["data"][0]
    if not _MAPS.exists():
        return None
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, offset, _, inode, *_ = line.split(maxsplit=5)
        first, last = (int(part, 16) for part in span.split("-"))
        if first <= start and start + content.nbytes <= last:
            return _Mapping(first, last, int(offset, 16), int(inode)) if "w" not in rights and inode != "0" else None
    return None


@functools.cache
def _pread() -> Any:
    """pread(2) that keeps the interpreter's lock, as reading mapped memory does.

    os.pread gives it away for each row, and under eight searching threads waits for it as often.
    """
    library = ctypes.PyDLL(None)
    read = getattr(library, "pread64", None) or library.pread  # musl has the one, of 64 bits by itself
    read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
    read.restype = ctypes.c_ssize_t
    return read
