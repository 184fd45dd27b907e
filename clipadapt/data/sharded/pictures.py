"""Pictures in Parquet shards, read by row: one row group of about a megabyte at a time, its checksums compared.

Shards of this machine are mapped into memory where they lie; remote ones are copied whole into the machine's cache when
a picture of theirs is first asked for. A few stay open. Pages carry checksums, and the end of a shard, which says where
its pages lie, has its digest in shards.json: so a shard that was changed is named, without being read as a whole.
"""

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, Int32

from clipadapt.data.sharded.cache import ShardCache, changed
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError

_OPEN = 32
"""Shards that stay open in a process; a file and some hundred kilobytes each."""
_TAIL = 8
"""Bytes at the end of a Parquet file: the length of what stands before them, and PAR1."""


class ShardPictures:
    """The pictures of one split."""

    def __init__(self, folder: Folder, shards: tuple[Shard, ...], column: str, facts: pa.ChunkedArray) -> None:
        """`facts`: {path, bytes} of each picture, from the row index; `column`: of the pictures in the shards."""
        self._folder, self._shards, self._column = folder, shards, column
        fields = dict(zip((field.name for field in facts.type), facts.flatten(), strict=True))
        self._names: pa.ChunkedArray = fields["path"]
        self._sizes: np.ndarray = fields["bytes"].to_numpy()
        ends = np.cumsum([0, *(shard.rows for shard in shards)])
        self._starts = ends[:-1]
        self._rows = np.arange(ends[-1])
        self._files = _OpenShards(folder, shards)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, position: int) -> bytes:
        row = int(self._rows[position])
        number = self._shard_of(row)
        data = self._files.picture(number, self._column, row - int(self._starts[number]))
        if len(data) != self._sizes[row]:
            raise changed(self._folder, self._shards[number])
        return data

    def name(self, position: int) -> str:
        return self._names[int(self._rows[position])].as_py()

    def names(self) -> list[str]:
        """All of them."""
        return self._names.take(pa.array(self._rows)).to_pylist()

    def sizes(self) -> np.ndarray:
        return self._sizes[self._rows]

    def stamps(self) -> list[str]:
        digests = [shard.sha256[:16] for shard in self._shards]
        pairs = zip(self.sizes().tolist(), self.shards().tolist(), strict=True)
        return [f"{size} bytes in {digests[number]}" for size, number in pairs]

    def shards(self) -> Int32[np.ndarray, " pictures"]:
        """The number of the shard that each lies in."""
        return (np.searchsorted(self._starts, self._rows, side="right") - 1).astype(np.int32)

    def take(self, positions: Int[np.ndarray, " n"]) -> "ShardPictures":
        part = object.__new__(ShardPictures)
        part.__dict__.update(self.__dict__)
        part._rows = self._rows[positions]
        return part

    def _shard_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1


class _OpenShards:
    """The shards that are open in this process."""

    def __init__(self, folder: Folder, shards: tuple[Shard, ...]) -> None:
        self._folder, self._shards = folder, shards
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, which a process that unpickles opens for itself."""
        return {"_folder": self._folder, "_shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_folder"], state["_shards"])

    def picture(self, number: int, column: str, row: int) -> bytes:
        shard = self._shards[number]
        try:
            return self._opened(number).picture(column, row)
        except (pa.ArrowException, OSError, IndexError, KeyError) as error:
            raise CatalogueError(f"{changed(self._folder, shard)} ({error})") from error

    def _opened(self, number: int) -> "_OpenShard":
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        made = self._open_now(self._shards[number])  # without the lock: others go on reading while a copy is made
        with self._lock:
            self._open[number] = made
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return made

    def _open_now(self, shard: Shard) -> "_OpenShard":
        if self._folder.local is None:
            return ShardCache.of_machine().opened(self._folder, shard, _OpenShard)
        file = self._folder.local / shard.name
        try:
            if file.stat().st_size != shard.bytes or footer_digest(file) != shard.footer:
                raise changed(self._folder, shard)
            return _OpenShard(file)
        except FileNotFoundError as error:
            raise self._folder.missing(shard.name) from error


class _OpenShard:
    """A shard on this machine's disk."""

    def __init__(self, file: Path) -> None:
        self._file = pq.ParquetFile(file, memory_map=True, page_checksum_verification=True)
        about = self._file.metadata
        counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._lock = threading.Lock()  # a Parquet reader serves one thread at a time

    def picture(self, column: str, row: int) -> bytes:
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            rows = self._file.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
        return rows.column(column)[row - int(self._starts[group])]["bytes"].as_py()


def footer_digest(file: Path) -> str:
    """sha256 of the end of a Parquet file on this machine."""
    with file.open("rb") as opened:
        opened.seek(-_TAIL, 2)
        tail = opened.read()
        opened.seek(-_TAIL - int.from_bytes(tail[:4], "little"), 2)
        return hashlib.sha256(opened.read()).hexdigest()
