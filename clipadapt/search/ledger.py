"""Which vector of one index was made for which vector of another: what a mirror of two models has done so far.

    ledger = Ledger("swap/pairs")
    ledger.add(ids, old=digests(old_vectors), new=digests(new_vectors))
    ledger.holds(ids, "old", digests(old_vectors))        true where that is the vector that was last paired

64 bits of each id and vector, one file per batch, written whole or not at all (.npy, uint64 [3, items]); the last entry
of an id counts. An item whose picture changed has another vector, so it is paired anew; one whose cells changed has
not. Knows nothing of indexes.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt64

from clipadapt.atomic import atomic_write
from clipadapt.errors import StoreError
from clipadapt.search.ids import hashes

Side = Literal["old", "new"]
_ROW: dict[Side, int] = {"old": 1, "new": 2}
_FILES = 64
"""From which they are written together."""


class Ledger:
    """Pairs on disk and in memory."""

    def __init__(self, folder: str | Path) -> None:
        """What lies there already is read.

        Raises:
            StoreError: a file is damaged.
        """
        self.folder = Path(folder)
        self._content = np.empty((3, 0), np.uint64)
        files = sorted(self.folder.glob("[0-9]*.npy"))
        for file in files:
            try:
                self._merge(np.load(file, allow_pickle=False))
            except (OSError, ValueError) as error:
                raise StoreError(f"{file}: cannot be read ({error}); stop the swap, and begin it again") from error
        if len(files) > _FILES:
            self._write(self._content)
            for file in files:
                file.unlink()

    def __len__(self) -> int:
        return self._content.shape[1]

    def add(self, ids: Sequence[str], old: UInt64[np.ndarray, " ids"], new: UInt64[np.ndarray, " ids"]) -> None:
        """Pairs of some items, kept before this returns.

        Raises:
            StoreError: the disk refuses.
        """
        more = np.stack([hashes(ids), old, new])
        self._write(more)
        self._merge(more)

    def holds(self, ids: Sequence[str], side: Side, digests: UInt64[np.ndarray, " ids"]) -> Bool[np.ndarray, " ids"]:
        """Whether each item was last paired with that vector on that side."""
        if not len(self):
            return np.zeros(len(ids), bool)
        wanted = hashes(ids)
        places = np.minimum(np.searchsorted(self._content[0], wanted), len(self) - 1)
        return (self._content[0][places] == wanted) & (self._content[_ROW[side]][places] == digests)

    def _write(self, content: UInt64[np.ndarray, "3 items"]) -> None:
        buffer = io.BytesIO()
        np.save(buffer, content, allow_pickle=False)
        last = max((int(file.stem) for file in self.folder.glob("[0-9]*.npy")), default=0)
        atomic_write(self.folder / f"{last + 1:06d}.npy", buffer.getvalue())

    def _merge(self, more: UInt64[np.ndarray, "3 items"]) -> None:
        whole = np.concatenate([more[:, ::-1], self._content], axis=1)  # of equal ids np.unique gives the first
        self._content = np.ascontiguousarray(whole[:, np.unique(whole[0], return_index=True)[1]])


def digests(vectors: Float[np.ndarray, "items dim"]) -> UInt64[np.ndarray, " items"]:
    """64 bits of each vector's values."""
    rows = np.ascontiguousarray(vectors, "<f4")
    return np.frombuffer(b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in rows), "<u8").astype(
        np.uint64
    )
