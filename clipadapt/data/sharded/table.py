"""What is in a shard: columns with types, pictures as {bytes, path}, in row groups of about a megabyte.

Row groups are what one picture is read with, so they are small; text is compressed, pictures are not, for they are.
The end of a file says how long each picture is, and which rows of the source were left out.
"""

import base64
import contextlib
import hashlib
import io
import json
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError

GROUP_BYTES = 2**20
GROUP_ROWS = 1024
_SIZES = b"clipadapt_sizes"
"""Key in a shard's metadata: bytes of each picture that it was made from, -1 for those left out; int64, packed."""
_CONTENT = b"clipadapt_pictures"
"""The same for a digest of all pictures, so that the ends of two shards with pictures of equal sizes differ."""


def columns_of(table: pa.Table, image: str, file: str) -> pa.Table:
    """The columns of a source as shards hold them: dictionaries opened.

    Raises:
        CatalogueError: a column is called as the pictures are.
    """
    if image in table.column_names:
        raise CatalogueError(
            f"{file}: a column is called {image!r}, as the pictures will be; rename it, or name the pictures' column "
            "with --image"
        )
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(field.type.value_type))
    return table.replace_schema_metadata(None)


class GroupWriter:
    """Writes one shard: `add` every row in turn, with its picture or None to leave it out."""

    def __init__(self, file: Path, table: pa.Table, image: str) -> None:
        """`table`: the columns of all rows.

        Raises:
            CatalogueError: a column of a type that datasets cannot read.
        """
        self.rows = 0
        """Written so far."""
        self._table, self._image = table, image
        self._waiting: list[tuple[int, bytes, str]] = []
        self._bytes = 0
        self._sizes: list[int] = []
        self._content = hashlib.sha256()
        self._schema = _with_features(table.schema, image)
        leaves = _leaves(self._schema)
        pictures = f"{image}.bytes"
        options: dict[str, Any] = {  # pyarrow's stubs know neither lists nor mappings here
            "use_dictionary": [leaf for leaf in leaves if leaf != pictures],
            "compression": {leaf: "none" if leaf == pictures else "zstd" for leaf in leaves},
        }
        self._writer = pq.ParquetWriter(file, self._schema, write_page_checksum=True, write_statistics=False, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
            packed = base64.b64encode(zlib.compress(np.array(self._sizes, "<i8").tobytes()))
            self._writer.add_key_value_metadata({_SIZES: packed, _CONTENT: self._content.hexdigest()})
            self._writer.close()
        else:
            with contextlib.suppress(OSError):  # of a disk that is full: the first failure is the one to tell
                self._writer.close()

    def add(self, row: int, data: bytes | None, name: str) -> None:
        """The next row of the table."""
        self._sizes.append(-1 if data is None else len(data))
        if data is None:
            return
        self._content.update(data)
        self._waiting.append((row, data, name))
        self._bytes += len(data)
        if self._bytes >= GROUP_BYTES or len(self._waiting) == GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            columns = self._table.take(pa.array([row for row, _, _ in self._waiting]))
            cells = [{"bytes": data, "path": name} for _, data, name in self._waiting]
            pictures = pa.array(cells, self._schema.field(self._image).type)
            self._writer.write_table(pa.table([*columns.columns, pictures], self._schema), row_group_size=len(cells))
            self.rows += len(cells)
            self._waiting, self._bytes = [], 0


def row_index(table: pa.Table, image: str, names: list[str], sizes: Int[np.ndarray, " rows"]) -> pa.Table:
    """The row index of a split: its columns, and {path, bytes} of each picture in place of the picture."""
    facts = pa.StructArray.from_arrays([pa.array(names, pa.string()), pa.array(sizes)], ["path", "bytes"])
    return pa.table([*table.columns, facts], [*table.column_names, image])


def sizes_of(folder: Folder, shard: Shard) -> Int[np.ndarray, " rows"]:
    """Bytes of each picture that a shard was made from, -1 for those left out; from the end of the file.

    Raises:
        CatalogueError: it cannot be read.
    """
    try:
        length = int.from_bytes(folder.tail(shard.name, 8)[:4], "little")
        about = pq.read_metadata(io.BytesIO(b"PAR1" + folder.tail(shard.name, length + 8)))
        return np.frombuffer(zlib.decompress(base64.b64decode(about.metadata[_SIZES])), "<i8").astype(np.int64)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, zlib.error) as error:
        raise CatalogueError(f"{folder.place(shard.name)}: cannot be read ({error}); remove it") from error


def _with_features(schema: pa.Schema, image: str) -> pa.Schema:
    """The schema of shards, with what makes datasets show the pictures."""
    pictures = pa.field(image, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    whole = schema.append(pictures)
    features: dict[str, Any] = {}
    for field in whole:
        try:
            features[field.name] = datasets.Features.from_arrow_schema(pa.schema([field]))[field.name]
        except (ValueError, NotImplementedError) as error:
            raise CatalogueError(
                f"column {field.name!r}: datasets has no type for it ({error}); convert it or leave it out"
            ) from error
    features[image] = datasets.Image()
    about = {"info": {"features": datasets.Features(features).to_dict()}}
    return whole.with_metadata({b"huggingface": json.dumps(about).encode()})


def _leaves(schema: pa.Schema) -> list[str]:
    """The paths of a schema's columns as Parquet names them."""
    empty = io.BytesIO()
    pq.write_table(schema.empty_table(), empty)
    found = pq.ParquetFile(empty).schema
    return [found.column(at).path for at in range(len(found))]
