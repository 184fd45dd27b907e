"""Local folders in imagefolder's layouts, and tables beside pictures, read as text and without listing the pictures.

    SOURCE/metadata.csv                     one split, train; a column file_name points to the pictures
    SOURCE/train/metadata.csv ...           a split per folder, named as datasets names them (val, dev -> validation)
    SOURCE/train/dress/1.jpg ...            a folder per class; the column `label` holds its name
    SOURCE/train.csv ...  or  FILE.csv      tables with a column of picture paths relative to the table
    SOURCE/metadata.csv, SOURCE/train/ ...  one table over the split folders: a row belongs to the folder of its picture

`datasets.load_dataset` reads the first three too, and gives the same rows; it lists the folder some 40 times (4.6 s for
7,085 pictures on two cores), guesses types ("007" becomes 7, "None" becomes missing) and refuses splits whose guesses
differ, as they do where a sparse column is empty in one of them. What this module does not recognise it leaves to it.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from clipadapt.data.columns import option
from clipadapt.data.filenames import as_stored, refuse_unusable
from clipadapt.data.label_formats import label_studio_path
from clipadapt.data.pictures import FilePictures, Pictures
from clipadapt.data.records import looks_like_table
from clipadapt.data.tables import FILE_ENDINGS, TABLE_ENDINGS, read_table
from clipadapt.errors import CatalogueError

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Split -> folder or file names that mean it. Source: datasets.data_files.SPLIT_KEYWORDS."""

PICTURE_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".ppm",
)
_LOOKED_AT = 20
"""Cells of a column by which it is judged to hold file names."""
_ARCHIVES = (".zip", ".tar", ".parquet", ".arrow")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class Rows(NamedTuple):
    """One split as it was stored: its columns, its pictures, and how to tell a person where a row stands."""

    table: pa.Table
    pictures: Pictures
    file: str
    """The file that holds the rows, or the source itself."""
    lines: np.ndarray | None
    """The line in which each row starts, as a text editor counts; None where rows have no line."""
    names: list[str]
    """A name per row for where no column names the items; unique unless a picture is listed twice. May be empty."""
    policy: dict[str, Any] | None = None
    """How pictures were resized when the source was written (images.Preprocess.geometry); None: they are originals."""

    def line(self, row: int) -> int:
        """Where a person finds a row: its line, or its number counted from 1."""
        return int(self.lines[row]) if self.lines is not None else row + 1


class Table(NamedTuple):
    """A table file whose rows point to pictures."""

    file: Path
    below: str = ""
    """Only rows whose pictures lie in this folder beside the table; "": all."""

    def read(self, image: str) -> Rows:
        """The rows; the column of picture paths is `image`, or file_name (for another image: IMAGE_file_name).

        Raises:
            CatalogueError: the file cannot be parsed, has no such column, or a path leads out of its folder.
        """
        table, lines = read_table(self.file)
        wanted = [image, "file_name" if image == "image" else f"{image}_file_name"]
        column = next((name for name in reversed(wanted) if name in table.column_names), None)
        if column is None:
            raise CatalogueError(
                f"{self.file}: no column of picture paths: looked for {' and '.join(wanted)}, "
                f"found {', '.join(table.column_names)}; name it with {option('image')}"
            )
        named = [label_studio_path(name or "") for name in table.column(column).cast(pa.string()).to_pylist()]
        refuse_unusable(named, lines, self.file, column)
        if self.below:
            kept = np.flatnonzero([first_folder(name) == self.below for name in named])
            table, named = table.take(pa.array(kept)), [named[row] for row in kept]
            lines = kept + 1 if lines is None else lines[kept]
        names = as_stored(named, self.file.parent)
        paths = [f"{self.file.parent}{os.sep}{name}" if name else "" for name in names]
        return Rows(table.drop_columns([column]), FilePictures(paths), str(self.file), lines, named)

    def first_cells(self) -> dict[str, list[str]]:
        """Column -> its first known cells, of columns of text."""
        table, _ = read_table(self.file)
        return {
            field.name: [cell for cell in table.column(field.name).slice(0, _LOOKED_AT).to_pylist() if cell]
            for field in table.schema
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        }


class ClassFolders(NamedTuple):
    """A folder whose sub-folders are classes."""

    folder: Path
    labels: tuple[str, ...]

    def read(self, image: str) -> Rows:
        """A row per picture, in the order of class and file name; the one column is `label`."""
        names = [f"{label}/{name}" for label in self.labels for name in _pictures(self.folder / label)]
        table = pa.table({"label": pa.array([name.partition("/")[0] for name in names], pa.string())})
        paths = [str(self.folder / name) for name in names]
        return Rows(table, FilePictures(paths), str(self.folder), None, names)

    def first_cells(self) -> dict[str, list[str]]:
        """Pictures are the folder's own; no column is theirs."""
        return {}


def first_folder(name: str) -> str:
    """The first folder of a relative path, "" when it has none."""
    parts = os.path.normpath(name.replace("\\", "/")).split("/")
    return parts[0] if len(parts) > 1 else ""


def is_picture_name(name: str) -> bool:
    """Whether a cell names a picture file; addresses are none."""
    return name.lower().endswith(PICTURE_ENDINGS) and "://" not in name


def no_split(source: str, split: str, splits: list[str]) -> CatalogueError:
    """The error for a split that is not there."""
    return CatalogueError(
        f"{source}: no split {split!r}; it has {', '.join(map(repr, splits))}. Name one of these; a split that a run "
        "carved by product exists through that run's config only (data.splits)"
    )


def recognise(source: Path) -> dict[str, Table | ClassFolders] | None:
    """Split -> what holds it, for a layout of this module; None for anything else.

    Folders called train, val or test beside others are classes where every folder holds pictures alone.

    Raises:
        CatalogueError: two folders or tables that mean one split.
    """
    if source.is_file():
        return {"train": Table(source)} if source.suffix in FILE_ENDINGS else None
    splits, others = _split_folders(source)
    if not splits:
        whole = _holder(source) or _tables(source)
        return whole if isinstance(whole, dict) else {"train": whole} if whole else None
    if any(_holds_pictures(other) for other in others):
        whole = _holder(source)
        if isinstance(whole, ClassFolders) and all(_holds_pictures(folder) for folder in splits.values()):
            return {"train": whole}
    holders = {split: _holder(splits[split]) for split in SPLIT_WORDS if split in splits}
    known = {split: holder for split, holder in holders.items() if holder is not None}
    return known if len(known) == len(holders) else _over_folders(source, splits)


def _over_folders(source: Path, splits: dict[str, Path]) -> dict[str, Table | ClassFolders] | None:
    """Tables beside split folders that have none of their own: one per split, or one over all of them."""
    metadata = [source / name for name in _METADATA if (source / name).is_file()]
    tables: dict[str, Table | ClassFolders] | None = _tables(source)
    if len(metadata) == 1:
        tables = {"train": Table(metadata[0])}
    if tables is None or any(_split_of(table.file.stem) for table in tables.values() if isinstance(table, Table)):
        return tables
    (table,) = tables.values()
    assert isinstance(table, Table), "made here"
    return {split: Table(table.file, splits[split].name) for split in SPLIT_WORDS if split in splits}


def passed_over(source: Path) -> list[str]:
    """What a folder holds beside its splits that no split reads, a line each: pictures, and tables."""
    if not source.is_dir():
        return []
    splits, others = _split_folders(source)
    known = recognise(source)
    if known is not None and any(isinstance(one, ClassFolders) and one.folder == source for one in known.values()):
        return _odd_files(known)
    lines = _odd_files(known or {})
    if splits:
        lines += [
            f"folder {other.name!r} is not read ({count} pictures): beside {_listed(splits)} it is no split; move it, "
            "or, if all folders are classes, put them into one folder called train"
            for other in others
            if (count := sum(path.lower().endswith(PICTURE_ENDINGS) for path in _below(other)))
        ]
        if loose := _pictures(source):
            lines.append(
                f"{len(loose)} pictures beside the split folders are not read, such as {loose[0]!r}; move them"
            )
    read = {one.file for one in (known or {}).values() if isinstance(one, Table)}
    beside = {Path(entry).name for entry in _entries(source) if entry.name.endswith(TABLE_ENDINGS)}
    unread = sorted(beside - {file.name for file in read if file.parent == source})
    if unread and (splits or source in {file.parent for file in read}):
        lines.append(
            f"not read: {', '.join(unread)}, for {_listed(known or splits)} have tables or folders of their own"
        )
    return lines + _rows_of_no_split(known or {})


def _rows_of_no_split(known: dict[str, Table | ClassFolders]) -> list[str]:
    """Rows of one table over split folders whose pictures lie in none of them."""
    folders = {one.below: one.file for one in known.values() if isinstance(one, Table) and one.below}
    if not folders:
        return []
    file = next(iter(folders.values()))
    table, lines = read_table(file)
    column = next((name for name in ("file_name", "image") if name in table.column_names), None)
    names = [name or "" for name in table.column(column).to_pylist()] if column else []
    odd = [row for row, name in enumerate(names) if first_folder(name) not in folders]
    if not odd:
        return []
    place = odd[0] + 1 if lines is None else lines[odd[0]]
    return [f"{file.name}: {len(odd)} row(s) name pictures in none of {_listed(folders)}, the first in row {place}"]


def _holder(folder: Path) -> Table | ClassFolders | None:
    """What holds one split: a metadata table, at least two class folders and nothing else, or the one JSON beside the
    pictures that is a table.
    """
    files = [folder / name for name in _METADATA if (folder / name).is_file()]
    if len(files) > 1:
        raise CatalogueError(f"{folder}: holds {' and '.join(file.name for file in files)}; keep one of them")
    if files:
        return Table(files[0])
    labels: list[str] = []
    for entry in _entries(folder):
        if entry.is_dir():
            if not all(inner.is_file() for inner in _entries(Path(entry))):
                break
            labels.append(entry.name)
        elif entry.name.lower().endswith((*PICTURE_ENDINGS, *_ARCHIVES, *TABLE_ENDINGS)):
            break
    else:
        if len(labels) > 1:
            return ClassFolders(folder, tuple(sorted(labels)))
    json = _json_tables(folder)
    other = any(entry.name.lower().endswith((*_ARCHIVES, *TABLE_ENDINGS)) for entry in _entries(folder))
    return Table(json[0]) if len(json) == 1 and not other else None


def _json_tables(folder: Path) -> list[Path]:
    """JSON files that hold a table or what a labelling tool wrote, and not just settings."""
    files = [Path(entry) for entry in _entries(folder) if entry.name.endswith(".json")]
    return [file for file in files if looks_like_table(file)]


def _tables(folder: Path) -> dict[str, Table | ClassFolders] | None:
    files = [Path(entry) for entry in _entries(folder) if entry.name.endswith(TABLE_ENDINGS)]
    named: dict[str, Path] = {}
    for file in files:
        if split := _split_of(file.stem):
            _once(named, split, file)
    if named:
        return {split: Table(named[split]) for split in SPLIT_WORDS if split in named}
    return {"train": Table(files[0])} if len(files) == 1 else None


def _split_folders(source: Path) -> tuple[dict[str, Path], list[Path]]:
    """Split -> its folder, and the folders that mean no split."""
    splits: dict[str, Path] = {}
    others: list[Path] = []
    for entry in sorted(_entries(source), key=lambda entry: entry.name):
        if entry.is_dir():
            if split := _split_of(entry.name):
                _once(splits, split, Path(entry))
            else:
                others.append(Path(entry))
    return splits, others


def _once(files: dict[str, Path], split: str, path: Path) -> None:
    """Notes what holds a split; two for one split would hide each other."""
    if split in files:
        raise CatalogueError(
            f"{path.parent}: {files[split].name!r} and {path.name!r} both mean the split {split!r}; rename one, "
            "or put their items together"
        )
    files[split] = path


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder holds pictures, and no folders, tables or archives."""
    entries = list(_entries(folder))
    return bool(_pictures(folder)) and not any(
        entry.is_dir() or entry.name.lower().endswith((*_ARCHIVES, *TABLE_ENDINGS)) for entry in entries
    )


def _odd_files(known: dict[str, Table | ClassFolders]) -> list[str]:
    """Files in class folders that no picture reader knows by their ending."""
    lines: list[str] = []
    for holder in known.values():
        if isinstance(holder, ClassFolders):
            for label in holder.labels:
                names = {entry.name for entry in _entries(holder.folder / label)} - set(
                    _pictures(holder.folder / label)
                )
                lines += [f"{holder.folder / label}: {len(names)} file(s) are no pictures by their ending, such as "
                          f"{min(names)!r}; they are not read"] if names else []  # fmt: skip
    return lines


def _below(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _split_of(name: str) -> str | None:
    return next((split for split, words in SPLIT_WORDS.items() if name.lower() in words), None)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith((".", "__")))


def _pictures(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(PICTURE_ENDINGS))
