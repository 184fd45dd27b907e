"""Pictures in Parquet shards, read by row: one row group of about a megabyte at a time, its checksums compared.

Shards of this machine are mapped into memory where they lie; remote ones are copied whole into the machine's cache when
a picture of theirs is first asked for, or before (`ahead`). None stays open. Pages carry checksums, and the end of a
shard, which says where its pages lie, has its digest in shards.json: so a shard that was changed is named, without
being read as a whole.
"""

import contextlib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int, Int32

from clipadapt.data.sharded.ahead import Ahead
from clipadapt.data.sharded.cache import ShardCache, changed
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError

_KNOWN = 64
"""Shards of which a process remembers where their pages lie; some hundred kilobytes each."""
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
        self._files = _Files(folder, shards)

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

    @contextlib.contextmanager
    def ahead(self) -> Iterator[Callable[[Sequence[int]], None]]:
        """See InShards; remote shards are copied by a thread that ends with the block."""
        if self._folder.local is not None:
            yield lambda numbers: None
            return
        with Ahead(self._folder, self._shards) as ahead:
            yield ahead.want

    def take(self, positions: Int[np.ndarray, " n"]) -> "ShardPictures":
        part = object.__new__(ShardPictures)
        part.__dict__.update(self.__dict__)
        part._rows = self._rows[positions]
        return part

    def _shard_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1


class _Files:
    """The shards' files; of some it is known where their pages lie."""

    def __init__(self, folder: Folder, shards: tuple[Shard, ...]) -> None:
        self._folder, self._shards = folder, shards
        self._lock = threading.Lock()
        self._layouts: OrderedDict[int, _Layout] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made again where it is asked for."""
        return {"_folder": self._folder, "_shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_folder"], state["_shards"])

    def picture(self, number: int, column: str, row: int) -> bytes:
        """Opens the file for this one picture, so that a copy that the cache takes away leaves the disk at once."""
        shard = self._shards[number]
        try:
            if self._folder.local is None:
                copies = ShardCache.of_machine()
                return copies.opened(self._folder, shard, lambda file: self._read(number, file, column, row))
            return self._read(number, self._folder.local / shard.name, column, row)
        except FileNotFoundError as error:
            raise self._folder.missing(shard.name) from error
        except (pa.ArrowException, OSError, IndexError, KeyError) as error:
            raise CatalogueError(f"{changed(self._folder, shard)} ({error})") from error

    def _read(self, number: int, file: Path, column: str, row: int) -> bytes:
        layout = self._layout(number, file)
        group = int(np.searchsorted(layout.starts, row, side="right")) - 1
        with pq.ParquetFile(
            file, metadata=layout.about, memory_map=True, page_checksum_verification=True, pre_buffer=False
        ) as opened:
            rows = opened.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
            return rows.column(column)[row - int(layout.starts[group])]["bytes"].as_py()

    def _layout(self, number: int, file: Path) -> "_Layout":
        with self._lock:
            if number in self._layouts:
                self._layouts.move_to_end(number)
                return self._layouts[number]
        shard = self._shards[number]
        if file.stat().st_size != shard.bytes or footer_digest(file) != shard.footer:
            raise changed(self._folder, shard)
        about = pq.read_metadata(file)
        counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        made = _Layout(about, np.cumsum([0, *counts]))
        with self._lock:
            self._layouts[number] = made
            while len(self._layouts) > _KNOWN:
                self._layouts.popitem(last=False)
        return made


class _Layout(NamedTuple):
    """Where the pages of a shard lie."""

    about: pq.FileMetaData
    starts: Int[np.ndarray, " groups_and_end"]
    """First row of each row group."""


def footer_digest(file: Path) -> str:
    """sha256 of the end of a Parquet file on this machine."""
    with file.open("rb") as opened:
        opened.seek(-_TAIL, 2)
        tail = opened.read()
        opened.seek(-_TAIL - int.from_bytes(tail[:4], "little"), 2)
        return hashlib.sha256(opened.read()).hexdigest()
