"""Local folders in imagefolder's layouts, and tables beside pictures, read as text and without listing the pictures.

    SOURCE/metadata.csv                     one split, train; a column file_name points to the pictures
    SOURCE/train/metadata.csv ...           a split per folder, named as datasets names them (val, dev -> validation)
    SOURCE/train/dress/1.jpg ...            a folder per class; the column `label` holds its name
    SOURCE/train.csv ...  or  FILE.csv      tables with a column of picture paths relative to the table

`datasets.load_dataset` reads the first three too, and gives the same rows; it lists the folder some 40 times (4.6 s for
7,085 pictures on two cores), guesses types ("007" becomes 7, "None" becomes missing) and refuses splits whose guesses
differ, as they do where a sparse column is empty in one of them. What this module does not recognise it leaves to it.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from clipadapt.data.columns import option
from clipadapt.data.pictures import FilePictures, Pictures
from clipadapt.errors import CatalogueError, listing

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
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class Rows(NamedTuple):
    """One split as it was stored: its columns, its pictures, and how to tell a person where a row stands."""

    table: pa.Table
    pictures: Pictures
    file: str
    """The file that holds the rows, or the source itself."""
    first_line: int
    """What a text editor calls the first row: 2 below a header, 1 without; 0 where rows have no line."""
    names: list[str]
    """A name per row for where no column names the items; unique unless a picture is listed twice. May be empty."""


class Table(NamedTuple):
    """A table file whose rows point to pictures."""

    file: Path

    def read(self, image: str) -> Rows:
        """The rows; the column of picture paths is `image`, or file_name (for another image: IMAGE_file_name).

        Raises:
            CatalogueError: the file cannot be parsed, has no such column, or a path leads out of its folder.
        """
        table = read_table(self.file)
        wanted = [image, "file_name" if image == "image" else f"{image}_file_name"]
        column = next((name for name in reversed(wanted) if name in table.column_names), None)
        if column is None:
            raise CatalogueError(
                f"{self.file}: no column of picture paths: looked for {' and '.join(wanted)}, "
                f"found {', '.join(table.column_names)}; name it with {option('image')}"
            )
        names = [name or "" for name in table.column(column).cast(pa.string()).to_pylist()]
        outside = [f"row {row + self._first_line}: {name!r}" for row, name in enumerate(names) if _leads_out(name)]
        if outside:
            raise CatalogueError(
                f"{self.file}: paths that lead out of the table's folder:{listing(outside, 5)}"
                "\nwrite them relative to that folder, without '..'"
            )
        paths = [f"{self.file.parent}{os.sep}{name}" if name else "" for name in names]
        return Rows(
            table.drop_columns([column]),
            FilePictures(paths),
            str(self.file),
            self._first_line,
            names,
        )

    @property
    def _first_line(self) -> int:
        return {".csv": 2, ".tsv": 2, ".jsonl": 1}.get(self.file.suffix, 0)


class ClassFolders(NamedTuple):
    """A folder whose sub-folders are classes."""

    folder: Path
    labels: tuple[str, ...]

    def read(self, image: str) -> Rows:
        """A row per picture, in the order of class and file name; the one column is `label`."""
        names = [f"{label}/{name}" for label in self.labels for name in _pictures(self.folder / label)]
        table = pa.table({"label": pa.array([name.partition("/")[0] for name in names], pa.string())})
        paths = [str(self.folder / name) for name in names]
        return Rows(table, FilePictures(paths), str(self.folder), 0, names)


def no_split(source: str, split: str, found: list[str]) -> CatalogueError:
    """The error for a split that is not there."""
    return CatalogueError(
        f"{source}: no split {split!r}; it has {', '.join(map(repr, found))}. Name one of these; a split that a run "
        "carved by product exists through that run's config only (data.splits)"
    )


def recognise(source: Path) -> dict[str, Table | ClassFolders] | None:
    """Split -> what holds it, for a layout of this module; None for anything else."""
    if source.is_file():
        return {"train": Table(source)} if source.suffix in TABLE_ENDINGS else None
    folders = [entry for entry in _entries(source) if entry.is_dir()]
    splits = {split: Path(entry) for entry in folders if (split := _split_of(entry.name))}
    if not splits:
        whole = _holder(source) or _tables(source)
        return whole if isinstance(whole, dict) else {"train": whole} if whole else None
    if any((source / name).exists() for name in _METADATA):
        return None  # one table over several split folders: datasets decides what belongs where
    holders = {split: _holder(splits[split]) for split in SPLIT_WORDS if split in splits}
    known = {split: holder for split, holder in holders.items() if holder is not None}
    return known if len(known) == len(holders) else None


def read_table(file: Path) -> pa.Table:
    """A table file with every CSV cell as the text that stands there.

    Raises:
        CatalogueError: it cannot be read or parsed, with the row where the parser says so.
    """
    try:
        if file.suffix == ".parquet":
            return pyarrow.parquet.read_table(file)
        if file.suffix == ".jsonl":
            return pyarrow.json.read_json(file)
        delimiter = "\t" if file.suffix == ".tsv" else ","
        names = _header(file, delimiter)
        return pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, csv.Error, UnicodeDecodeError, OSError) as error:
        raise CatalogueError(
            f"{file}: cannot be read: {error}; correct the file (UTF-8, a header, equal rows)"
        ) from error


def _header(file: Path, delimiter: str) -> list[str]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        names = next(csv.reader(lines, delimiter=delimiter), [])
    if not names:
        raise CatalogueError(f"{file}: empty; the first line must name the columns")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogueError(
            f"{file}: columns named twice in the header: {', '.join(map(repr, twice))}; rename one each"
        )
    return names


def _leads_out(name: str) -> bool:
    """A table may not reach out of its own folder, for tables come from strangers too."""
    return Path(name).is_absolute() or "://" in name or ".." in Path(name).parts


def _holder(folder: Path) -> Table | ClassFolders | None:
    """What holds one split: a metadata table, or at least two class folders and nothing else."""
    found = [folder / name for name in _METADATA if (folder / name).is_file()]
    if len(found) > 1:
        raise CatalogueError(f"{folder}: holds {' and '.join(file.name for file in found)}; keep one of them")
    if found:
        return Table(found[0])
    labels: list[str] = []
    for entry in _entries(folder):
        if entry.is_dir():
            if not all(inner.is_file() for inner in _entries(Path(entry))):
                return None
            labels.append(entry.name)
        elif entry.name.lower().endswith((*PICTURE_ENDINGS, ".zip", ".tar", ".parquet", *TABLE_ENDINGS)):
            return None
    return ClassFolders(folder, tuple(sorted(labels))) if len(labels) > 1 else None


def _tables(folder: Path) -> dict[str, Table | ClassFolders] | None:
    files = [Path(entry) for entry in _entries(folder) if entry.name.endswith(TABLE_ENDINGS)]
    named = {split: file for file in files if (split := _split_of(file.stem))}
    if named:
        return {split: Table(named[split]) for split in SPLIT_WORDS if split in named}
    return {"train": Table(files[0])} if len(files) == 1 else None


def _split_of(name: str) -> str | None:
    return next((split for split, words in SPLIT_WORDS.items() if name.lower() in words), None)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith((".", "__")))


def _pictures(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.name.lower().endswith(PICTURE_ENDINGS))
