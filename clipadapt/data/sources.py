"""A SOURCE string -> the splits it has and the rows of one: any `datasets.load_dataset` source.

Local folders in imagefolder's layouts are read by clipadapt.data.folders, shards of ours (here or on a URL) by
clipadapt.data.sharded; Parquet, WebDataset shards, Arrow, zips and hub data sets go through datasets itself
(clipadapt.data.loaded, imported when first needed, for it takes a second), whose cache stays in its normal place.
`drawn:garments` is drawn in memory, for what has to be measured without a network. Sources are never written to.
Nothing here knows which column means what.
"""

import functools
import logging
import os
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from clipadapt.data.folders import ClassFolders, Rows, Table, no_split, recognise
from clipadapt.data.folders import passed_over as beside_splits
from clipadapt.data.sharded.source import Sharded, is_shards
from clipadapt.errors import CatalogueError

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@runtime_checkable
class Source(Protocol):
    """What a SOURCE string names."""

    name: str

    def splits(self) -> list[str]:
        """Names of the splits there are."""
        ...

    def first_cells(self, split: str) -> dict[str, list[str]]:
        """Every column that may be the pictures' -> its first known cells as text, to tell what it holds.

        Raises:
            CatalogueError: no such split, or a file that cannot be read.
        """
        ...

    def read(self, split: str, image: str) -> Rows:
        """The rows of one split, with pictures taken from the column `image`.

        Raises:
            CatalogueError: no such split or column, or rows that cannot be read.
        """
        ...


def open_source(name: str | Path, revision: str | None = None) -> Source:
    """Opens what `name` points to: a folder, a file, a glob of shards, a URL of shards, or a hub id.

    `revision` pins a hub id.

    Raises:
        CatalogueError: nothing of that name, or nothing in it that can be loaded.
    """
    if str(name) == "drawn:garments":
        from clipadapt.data.garments.source import DrawnGarments

        return DrawnGarments()
    path = _path(name)
    if is_shards(name, path):
        return Sharded(str(name))
    known = recognise(path) if path.exists() else None
    for line in passed_over(name):
        _warn_once(f"{name}: {line}")
    if known is not None:
        return _Local(str(name), known)
    from clipadapt.data import loaded  # imports datasets

    if path.exists():
        return loaded.open_folder(str(name), path) if path.is_dir() else loaded.open_files(str(name), [str(path)])
    if shards := sorted(map(str, path.parent.glob(path.name))):
        return loaded.open_files(str(name), shards)
    if not _HUB_ID.fullmatch(str(name)) or str(name).startswith(".") or str(name) in loaded.FILE_READERS:
        raise CatalogueError(
            f"{name}: no such folder or file (looked from {Path.cwd()}); a source is a folder of pictures with "
            "metadata.csv, a table, Parquet files, WebDataset shards, or a hub id such as org/name"
        )
    return loaded.open_hub(str(name), revision)


def passed_over(name: str | Path) -> list[str]:
    """What lies in a source's folder and no split reads, a line each; nothing for sources that are no folder."""
    path = _path(name)
    return [] if is_shards(name, path) else beside_splits(path)


def _path(name: str | Path) -> Path:
    return Path(os.path.expandvars(name)).expanduser()


@functools.cache
def _warn_once(line: str) -> None:
    """One job opens the same source several times."""
    log.warning("%s", line)


class _Local:
    def __init__(self, name: str, holders: dict[str, Table | ClassFolders]) -> None:
        self.name = name
        self._holders = holders

    def splits(self) -> list[str]:
        return list(self._holders)

    def first_cells(self, split: str) -> dict[str, list[str]]:
        if split not in self._holders:
            raise no_split(self.name, split, self.splits())
        return self._holders[split].first_cells()

    def read(self, split: str, image: str) -> Rows:
        if split not in self._holders:
            raise no_split(self.name, split, self.splits())
        return self._holders[split].read(image)
