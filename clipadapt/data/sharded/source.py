"""A folder or URL of shards as a source: its columns come from the row index, its pictures are read by row.

open_shards("s3://bucket/shop")        # None where a local folder holds no shards.json
"""

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipadapt.atomic import sha256_file
from clipadapt.data.columns import option
from clipadapt.data.folders import Rows, no_split
from clipadapt.data.sharded.cache import ShardCache, changed
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import CLAIM, INDEX, Index, Split
from clipadapt.data.sharded.pictures import ShardPictures
from clipadapt.errors import CatalogueError

_LOOKED_AT = 20
"""Cells of a column by which it is judged to hold file names."""


def is_shards(name: str | Path, path: Path) -> bool:
    """Whether a source is one of shards, finished or not: a URL, or a folder `path` that holds what they begin with."""
    return "://" in str(name) or (path / INDEX).exists() or (path / CLAIM).exists()


class Sharded:
    """The source."""

    def __init__(self, name: str) -> None:
        """Raises:
        CatalogueError: no shards there, or they are not finished.
        """
        self.name = name
        self._folder = Folder(name)
        self._index = Index.load(self._folder)

    def splits(self) -> list[str]:
        return list(self._index.splits)

    def first_cells(self, split: str) -> dict[str, list[str]]:
        table = self._row_index(self._split(split), rows=_LOOKED_AT)
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
        cells = {name: [cell for cell in table.column(name).to_pylist() if cell] for name in texts}
        return {self._index.image: []} | cells

    def read(self, split: str, image: str) -> Rows:
        found, column = self._split(split), self._index.image
        if image not in (column, "image"):
            raise CatalogueError(
                f"{self.name}: no picture column {image!r}; its shards hold {column!r}; name that with "
                f"{option('image')}, or leave it out"
            )
        table = self._row_index(found)
        pictures = ShardPictures(self._folder, found.shards, column, table.column(column))
        if len(pictures) != found.rows.rows:
            raise changed(self._folder, found.rows)
        names = pictures.names()
        return Rows(table.drop_columns([column]), pictures, self.name, None, names, self._index.policy)

    def _split(self, split: str) -> Split:
        if split not in self._index.splits:
            raise no_split(self.name, split, self.splits())
        return self._index.splits[split]

    def _row_index(self, split: Split, rows: int | None = None) -> pa.Table:
        """All columns of the row index, of the first rows or of all.

        Raises:
            CatalogueError: it is missing or was changed.
        """

        def opened(file: Path) -> pa.Table:
            with pq.ParquetFile(file) as whole:
                if rows is None:
                    return whole.read()
                return pa.Table.from_batches(list(itertools.islice(whole.iter_batches(rows), 1)), whole.schema_arrow)

        if self._folder.local is None:
            return ShardCache.of_machine().opened(self._folder, split.rows, opened)
        file = self._folder.local / split.rows.name
        try:
            if file.stat().st_size != split.rows.bytes or sha256_file(file) != split.rows.sha256:
                raise changed(self._folder, split.rows)
            return opened(file)
        except FileNotFoundError as error:
            raise self._folder.missing(split.rows.name) from error
