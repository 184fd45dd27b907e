"""Where the encoded bytes of a split's pictures lie: files on disk, or a column of an Arrow table.

Nothing is read until a picture is asked for, and a subset shares its parent's storage, so a catalogue of a million
pictures is a list of paths or a memory map. Nothing here decodes: bytes out.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from clipadapt.errors import CatalogueError

if TYPE_CHECKING:
    import datasets


@runtime_checkable
class Pictures(Protocol):
    """Encoded pictures by position."""

    def __len__(self) -> int: ...

    def read(self, position: int) -> bytes:
        """The encoded file.

        Raises:
            CatalogueError: it is not there, or cannot be read.
        """
        ...

    def name(self, position: int) -> str:
        """What a person would look for: a path, or the name inside a shard; "" when there is none."""
        ...

    def sizes(self) -> np.ndarray:
        """Bytes of each picture, int64; -1 where it is missing."""
        ...

    def stamps(self) -> list[str]:
        """A mark per picture that changes when its file does on this machine; read without its content."""
        ...

    def take(self, positions: np.ndarray) -> Self:
        """Those pictures, in that order."""
        ...


@runtime_checkable
class InShards(Protocol):
    """Pictures that lie in shards, of which a few at a time are within quick reach."""

    def shards(self) -> Int[np.ndarray, " pictures"]:
        """The number of the shard that each lies in."""
        ...

    def ahead(self) -> AbstractContextManager[Callable[[Sequence[int]], None]]:
        """Within the block: what is called with the shards that are read next, and brings them within quick reach.

        It returns at once, and is no promise: a shard that cannot be had is named when a picture of it is read.
        """
        ...


class FilePictures:
    """Pictures that are files: local paths, or URLs that fsspec understands (`zip://a.jpg::/data.zip`)."""

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, position: int) -> bytes:
        path = self._paths[position]
        if not path:
            raise CatalogueError("the row names no picture file; fill in its cell or delete the row")
        try:
            if "://" in path:
                with fsspec.open(path, "rb") as file:
                    return file.read()  # pyright: ignore[reportAttributeAccessIssue] - a context manager gives the file
            return Path(path).read_bytes()
        except OSError as error:
            raise CatalogueError(
                f"cannot be read ({error.strerror or error}); restore the file or delete the row"
            ) from error

    def name(self, position: int) -> str:
        return self._paths[position]

    def sizes(self) -> np.ndarray:
        return np.fromiter((_file_size(path) for path in self._paths), np.int64, len(self._paths))

    def stamps(self) -> list[str]:
        return [_stamp(path) for path in self._paths]

    def take(self, positions: np.ndarray) -> "FilePictures":
        return FilePictures([self._paths[position] for position in positions])


class ColumnPictures:
    """Pictures inside a datasets table, memory-mapped; `column` has been cast to Image(decode=False)."""

    def __init__(self, rows: "datasets.Dataset", column: str, positions: np.ndarray) -> None:
        self._rows = rows
        self._column = column
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, position: int) -> bytes:
        cell = self._cell(position)
        if cell.get("bytes") is not None:
            return cell["bytes"]
        return FilePictures([cell.get("path") or ""]).read(0)

    def name(self, position: int) -> str:
        return self._cell(position).get("path") or ""

    def sizes(self) -> np.ndarray:
        lengths = pc.call_function("binary_length", [self._bytes()]).fill_null(-1)
        inside = lengths.to_numpy().astype(np.int64)[self._positions]
        for position in np.flatnonzero(inside < 0):
            inside[position] = _file_size(self.name(int(position)))
        return inside

    def stamps(self) -> list[str]:
        stored = self._bytes().is_valid().to_numpy()[self._positions]
        return [
            f"{size} bytes inside" if inside else _stamp(self.name(position))
            for position, (size, inside) in enumerate(zip(self.sizes(), stored, strict=True))
        ]

    def take(self, positions: np.ndarray) -> "ColumnPictures":
        return ColumnPictures(self._rows, self._column, self._positions[positions])

    def _bytes(self) -> pa.ChunkedArray:
        column = self._rows.data.column(self._column)
        return dict(zip((field.name for field in column.type.fields), column.flatten(), strict=True))["bytes"]

    def _cell(self, position: int) -> dict[str, Any]:
        return self._rows[int(self._positions[position])][self._column] or {}


def content_digest(data: bytes) -> str:
    """128 bits over an encoded picture, as hex: by these a picture is known again, whatever it is called."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _stamp(path: str) -> str:
    if "://" in path:
        return f"{_file_size(path)} bytes"
    try:
        stat = Path(path).stat()
    except OSError:
        return "missing"
    return f"{stat.st_size} bytes at {stat.st_mtime_ns}"


def _file_size(path: str) -> int:
    try:
        return fsspec.url_to_fs(path)[0].size(fsspec.url_to_fs(path)[1]) if "://" in path else Path(path).stat().st_size
    except OSError:
        return -1
