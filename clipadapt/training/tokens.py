"""Tokens of fixed views of every picture, kept on disk: one folder a view, files that are whole or not there.

    FOLDER/view0-3f2ab81c90d4/tokens.json    what they were computed from: base, blocks, precision, pictures, view
                              00000.npy      [rows, *tokens of one picture], in the catalogue's order; bf16 as uint16

A folder is named by the digest of what is in tokens.json, so tokens of another base, cut, precision, catalogue or
augmentation are never met under the same name, and runs that agree share what the first of them computed. Files are
written one after another, each in one step: a process that is killed leaves whole files, and the next one goes on.
They are mapped only while a batch is read, so that pages do not pile up in the process's memory.
Nothing here knows how tokens come about.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from clipadapt.atomic import atomic_write
from clipadapt.errors import StoreError

DESCRIPTION = "tokens.json"
FILE_BYTES = 1 << 26
"""Of one file, at most: what is computed again when a process is killed, and what a writer holds in memory."""
_SCHEMA = 1
_STORED = {torch.bfloat16: np.dtype(np.uint16), torch.float16: np.dtype(np.float16),
           torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}  # fmt: skip
"""torch's type -> numpy's of the same size; numpy has no bfloat16."""


class ViewTokens:
    """The tokens of one view of every item.

    view = ViewTokens("runs/a/cache", 0, made_from, items=5000, shape=(257, 192), dtype=torch.float16)
    for part in view.missing():
        view.write(part, compute(view.items(part)))
    view.read(np.array([7, 4031]))
    """

    def __init__(
        self,
        folder: str | Path,
        number: int,
        made_from: Mapping[str, Any],
        *,
        items: int,
        shape: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        self.number = number
        self.made_from = json.loads(json.dumps({**made_from, "shape": shape, "dtype": str(dtype)}))
        """What decides the tokens, as plain values."""
        digest = hashlib.sha256(json.dumps(self.made_from, sort_keys=True).encode()).hexdigest()
        self.folder = Path(folder) / f"view{number}-{digest[:12]}"
        self.count = items
        self.shape = tuple(shape)
        self.dtype = dtype
        self.bytes_per_item = int(np.prod(self.shape, dtype=np.int64)) * _STORED[dtype].itemsize
        self.rows = max(1, FILE_BYTES // self.bytes_per_item)
        """Items per file."""
        self.files = -(-items // self.rows)

    @property
    def bytes(self) -> int:
        """On disk when all files are there."""
        return self.count * self.bytes_per_item

    def items(self, part: int) -> Int[np.ndarray, " rows"]:
        """The items of one file."""
        return np.arange(part * self.rows, min((part + 1) * self.rows, self.count))

    def missing(self) -> list[int]:
        """Numbers of the files that are not there, or not of their size."""
        return [part for part in range(self.files) if not self._is_whole(part)]

    def describe(self) -> None:
        """Writes tokens.json, or compares with the one that is there.

        Raises:
            StoreError: the folder holds tokens of something else, or cannot be written.
        """
        file = self.folder / DESCRIPTION
        document = {"schema_version": _SCHEMA, "made_from": self.made_from}
        if not file.is_file():
            atomic_write(file, json.dumps(document, indent=1) + "\n")
            return
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            there = {}
        if there != document:
            made = there.get("made_from", {})
            differing = [key for key in self.made_from if made.get(key) != self.made_from[key]]
            raise StoreError(
                f"{self.folder}: holds tokens of another base, plan or catalogue ({', '.join(differing) or 'form'} "
                "differ); remove that folder, and they are computed anew"
            )

    def write(self, part: int, tokens: Shaped[Tensor, "rows ..."]) -> None:
        """One file, whole or not at all; values are rounded to the type that is kept.

        Raises:
            StoreError: a value is too large for that type, or no number; or the disk is full.
        """
        kept = tokens.detach().to("cpu", self.dtype)
        if not bool(torch.isfinite(kept).all()):
            largest = float(tokens.detach().abs().max())
            raise StoreError(
                f"{self.folder}: tokens of items {self.items(part)[0]} to {self.items(part)[-1]} reach {largest:.3g}, "
                f"which {str(self.dtype).removeprefix('torch.')} does not hold; set train.cache_dtype to bf16 or fp32"
            )
        content = io.BytesIO()
        array = kept.view(torch.uint16).numpy() if self.dtype == torch.bfloat16 else kept.numpy()
        np.save(content, array, allow_pickle=False)
        atomic_write(self._file(part), content.getbuffer())

    def read(self, items: Int[np.ndarray, " n"]) -> Shaped[Tensor, "n ..."]:
        """The tokens of some items, in their order, as a copy."""
        found = np.empty((len(items), *self.shape), _STORED[self.dtype])
        parts, rows = np.divmod(items, self.rows)
        for part in np.unique(parts):
            places = np.flatnonzero(parts == part)
            found[places] = np.load(self._file(int(part)), mmap_mode="r", allow_pickle=False)[rows[places]]
        tokens = torch.from_numpy(found)
        return tokens.view(torch.bfloat16) if self.dtype == torch.bfloat16 else tokens

    def _file(self, part: int) -> Path:
        return self.folder / f"{part:05d}.npy"

    def _is_whole(self, part: int) -> bool:
        file, count = self._file(part), len(self.items(part))
        if not file.is_file():
            return False
        head = io.BytesIO()
        described = np.lib.format.dtype_to_descr(_STORED[self.dtype])
        layout = {"descr": described, "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(head, layout)
        return file.stat().st_size == head.tell() + count * self.bytes_per_item


class Tokens:
    """All views: view 0 is the plain one. What batches read in place of pictures."""

    def __init__(self, views: Sequence[ViewTokens]) -> None:
        self.views = list(views)

    @property
    def bytes(self) -> int:
        """On disk when all are there."""
        return sum(view.bytes for view in self.views)

    @property
    def missing_bytes(self) -> int:
        """What is still to be written."""
        return sum(len(view.items(part)) * view.bytes_per_item for view in self.views for part in view.missing())

    def read(self, items: Int[np.ndarray, " n"], views: Int[np.ndarray, " n"]) -> Shaped[Tensor, "n ..."]:
        """The tokens of each item's view, in order."""
        first = self.views[0]
        found = torch.empty(len(items), *first.shape, dtype=first.dtype)
        for number in np.unique(views):
            places = np.flatnonzero(views == number)
            found[torch.from_numpy(places)] = self.views[int(number)].read(items[places])
        return found
