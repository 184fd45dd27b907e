"""Sources that `datasets.load_dataset` reads: Parquet, WebDataset, Arrow, zips, hub data sets, unusual folders.

Pictures stay encoded and memory-mapped; class numbers become their names; WebDataset's JSON is opened into columns.
Nothing here knows of attributes or products.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import numpy as np
import pyarrow as pa
from datasets import packaged_modules
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from clipadapt.data import shards
from clipadapt.data.columns import option
from clipadapt.data.folders import Rows, no_split
from clipadapt.data.pictures import ColumnPictures
from clipadapt.data.tables import FILE_ENDINGS
from clipadapt.errors import CatalogueError

log = logging.getLogger(__name__)

_PATIENCE = 10
"""Seconds that the hub has for its first answer."""
_BUILDERS = {".parquet": "parquet", ".tar": "webdataset", ".arrow": "arrow", ".zip": "imagefolder"}
FILE_READERS = frozenset(packaged_modules._PACKAGED_DATASETS_MODULES)
"""Names such as json and csv, for which datasets reads whatever lies in the current folder."""
_BOOKKEEPING = (shards.KEY, shards.URL)


def open_folder(name: str, folder: Path) -> "Loaded":
    """A folder, for datasets to find out what is in it.

    Raises:
        CatalogueError: datasets finds nothing, or cannot read what it finds.
    """
    samples = shards.read_samples(name, sorted(map(str, folder.rglob("*.tar"))))
    return Loaded(name, str(folder), {"features": samples.features if samples else None}, samples=samples)


def open_files(name: str, files: list[str]) -> "Loaded":
    """Files of one kind, recognised by their ending; together they are the split train.

    Raises:
        CatalogueError: an ending that is not known, or files that cannot be read.
    """
    ending = Path(files[0]).suffix
    if ending not in _BUILDERS:
        raise CatalogueError(
            f"{name}: a file ending in {ending or 'nothing'} is no source; use a folder, "
            f"or a file ending in {', '.join([*FILE_ENDINGS, *_BUILDERS])}"
        )
    samples = shards.read_samples(name, files) if ending == ".tar" else None
    arguments = {"data_files": {"train": files}, "features": samples.features if samples else None}
    return Loaded(name, _BUILDERS[ending], arguments, samples=samples)


def open_hub(name: str, revision: str | None) -> "Loaded":
    """A data set of the hub, downloaded or from datasets' cache.

    Raises:
        CatalogueError: it cannot be had; the message says what was wanted and how to point to a local copy.
    """
    return Loaded(name, name, {"revision": revision}, hub=True)


class Loaded:
    """A source that datasets loads; all its splits are opened at once, as memory maps."""

    def __init__(
        self,
        name: str,
        path: str,
        arguments: dict[str, Any],
        hub: bool = False,
        samples: shards.Samples | None = None,
    ) -> None:
        self.name = name
        self._samples = samples
        try:
            with _quiet(), _asked_once(name, arguments.get("revision")) if hub else contextlib.nullcontext():
                loaded = datasets.load_dataset(path, **arguments)
        except Exception as error:  # datasets raises whatever its readers, fsspec and the hub's client raise
            raise CatalogueError(_reason(name, arguments, error, hub)) from error
        assert isinstance(loaded, datasets.DatasetDict), "no split was asked for"
        self._splits = {str(split): rows for split, rows in loaded.items()}

    def splits(self) -> list[str]:
        return list(self._splits)

    def first_cells(self, split: str) -> dict[str, list[str]]:
        if split not in self._splits:
            raise no_split(self.name, split, self.splits())
        rows = self._splits[split]
        texts = [name for name, feature in rows.features.items() if feature == datasets.Value("string")]
        head = rows.select_columns(texts).data.table.slice(0, 20).to_pydict() if texts else {}
        cells = {name: [cell for cell in head[name] if cell] for name in texts if name not in _BOOKKEEPING}
        return {name: [] for name in _media(rows.features)} | cells

    def read(self, split: str, image: str) -> Rows:
        if split not in self._splits:
            raise no_split(self.name, split, self.splits())
        rows = self._splits[split]
        column = _picture_column(rows.features, image, self.name)
        pictures = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        others = [name for name in rows.column_names if name != column and name not in _BOOKKEEPING]
        table: pa.Table = rows.select_columns(others).data.table if others else pa.table({})
        for index, name in enumerate(others):
            feature = rows.features[name]
            if isinstance(feature, datasets.ClassLabel):
                table = table.set_column(index, name, _class_names(table.column(name), feature))
        if self._samples is not None:
            beside = self._samples.table(rows[shards.URL], rows[shards.KEY])
            columns = dict(zip(table.column_names, table.columns, strict=True))
            table = pa.table({**columns, **dict(zip(beside.column_names, beside.columns, strict=True))})
        stored = ColumnPictures(pictures, column, np.arange(len(rows)))
        return Rows(table, stored, self.name, None, _names(pictures.data.column(column)))


def _picture_column(features: datasets.Features, image: str, source: str) -> str:
    """The column that holds the pictures: the one named, or the only one there is."""
    pictures = _media(features)
    if image in features:
        return image
    if image == "image" and len(pictures) == 1:
        return pictures[0]
    raise CatalogueError(
        f"{source}: no picture column {image!r}; columns with pictures: {', '.join(pictures) or 'none'}; "
        f"all columns: {', '.join(features)}; name one with {option('image')}"
    )


def _media(features: datasets.Features) -> list[str]:
    """Columns that hold pictures, as datasets declares them or as other writers store them: bytes, with or without a
    path.
    """

    def stored(feature: Any) -> bool:
        if isinstance(feature, dict):
            return {"bytes", "path"} == feature.keys()
        return isinstance(feature, datasets.Image) or feature in (
            datasets.Value("binary"),
            datasets.Value("large_binary"),
        )

    return [name for name, feature in features.items() if stored(feature)]


def _class_names(column: pa.ChunkedArray, feature: datasets.ClassLabel) -> pa.ChunkedArray:
    names = feature.int2str
    cells = [None if cell is None or cell < 0 else str(names(cell)) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _names(pictures: pa.ChunkedArray) -> list[str]:
    """Names of the pictures below their common folder; empty when they have none or share them."""
    fields = dict(zip((field.name for field in pictures.type.fields), pictures.flatten(), strict=True))
    paths: list[str | None] = fields["path"].to_pylist()
    inner = [path.partition("::")[0].rpartition("://")[2] for path in paths if path]
    if not inner or len(set(inner)) < len(paths):
        return []
    common = os.path.commonpath([Path(path).parent for path in inner])
    short = [os.path.relpath(path, common) if common else path for path in inner]
    return short if len(set(short)) == len(short) else []


def _reason(source: str, arguments: dict[str, Any], error: Exception, hub: bool) -> str:
    if not hub:
        return f"{source}: datasets cannot load it: {error}"
    pinned = f" at revision {arguments['revision']}" if arguments.get("revision") else ""
    return (
        f"{source}: no such folder here, and the data set {source!r}{pinned} could not be had from the hub: {error}. "
        "Without a network, download it elsewhere (hf download --repo-type dataset NAME --local-dir FOLDER) "
        "and give that folder as the source"
    )


@contextlib.contextmanager
def _asked_once(name: str, revision: str | None) -> Iterator[None]:
    """Within: a hub that did not answer once is not asked again, for its client retries for half a minute.

    What was downloaded before is still found then. Raises what the hub says of a data set that it does not have.
    """
    log.info("%s: no such folder or file here; looking for a data set of that name on the hub", name)
    try:
        HfApi().dataset_info(name, revision=revision, timeout=_PATIENCE)
    except HfHubHTTPError as error:
        if error.response.status_code < 500:
            raise
    except Exception as error:  # the hub client's transports have no common base
        log.info("%s: the hub does not answer (%s)", name, type(error).__name__)
    else:
        yield
        return
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Datasets' progress bars only where someone watches."""
    shown = datasets.are_progress_bars_disabled() or sys.stderr.isatty()
    if not shown:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()
