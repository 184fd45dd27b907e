"""Table files beside pictures -> Arrow tables whose cells are the text that stands in the file, and their lines.

CSV (comma, semicolon, tab or |, by the header), TSV, JSON Lines, JSON, Parquet. Lines are counted as a text editor
counts them, quoted line breaks and blank lines included. Nothing here knows what a column means.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from clipadapt.data.records import json_document, json_lines, read_text
from clipadapt.errors import CatalogueError

pc: Any = pyarrow.compute  # its functions are made on import

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
"""Tables that are looked for in folders."""
FILE_ENDINGS = (*TABLE_ENDINGS, ".json")
"""Tables that can be named as a source."""
DELIMITERS = (",", ";", "\t", "|")


def read_table(file: Path) -> tuple[pa.Table, np.ndarray | None]:
    """A table file, and the line in which each row starts; None where rows have no line.

    Raises:
        CatalogueError: it cannot be read or parsed; the message names the line.
    """
    try:
        if file.suffix == ".parquet":
            return pyarrow.parquet.read_table(file), None
        if file.suffix == ".jsonl":
            return json_lines(file)
        if file.suffix == ".json":
            return json_document(file)
        return _read_csv(file)
    except (pa.ArrowInvalid, csv.Error, OSError) as error:
        raise CatalogueError(f"{file}: cannot be read: {error}; correct the file") from error


def _read_csv(file: Path) -> tuple[pa.Table, np.ndarray]:
    delimiter, names = _header(file)
    try:
        table = pyarrow.csv.read_csv(
            file,
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
        lines = _lines(file, delimiter, len(table))
    except pa.ArrowInvalid:
        text = read_text(file)  # whose own error says where a file is no UTF-8
        for line, cells in _csv_rows(text, delimiter):
            if len(cells) != len(names):
                raise CatalogueError(
                    f"{file}, line {line}: {len(cells)} cells where the header names {len(names)} columns "
                    f"({cells[0][:40]!r} ...); quote cells that hold {delimiter!r}, or correct the line"
                ) from None
        raise
    return _named(table, file), lines


def _named(table: pa.Table, file: Path) -> pa.Table:
    """Columns by the names in the header without the spaces around them; one without a name is called by its place.

    Spreadsheets leave separators behind at the ends of lines: a column without a name and without cells is none.
    """
    names = [name.strip() or f"column {place}" for place, name in enumerate(table.column_names, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogueError(
            f"{file}: columns named twice in the header: {', '.join(map(repr, twice))}; rename one each"
        )
    kept = [
        place for place, name in enumerate(table.column_names)
        if name.strip() or pc.any(pc.not_equal(table.column(place), "")).as_py()
    ]  # fmt: skip
    return table.rename_columns(names).select(kept)


def _lines(file: Path, delimiter: str, rows: int) -> np.ndarray:
    """The line of each row; parsed again only where lines and rows differ in number."""
    data = file.read_bytes()
    ends = data.count(b"\n")
    if ends + (not data.endswith(b"\n")) == rows + 1:
        return np.arange(2, rows + 2)
    started = []
    try:
        for line, _ in _csv_rows(read_text(file), delimiter, strict=True):
            started.append(line)
    except csv.Error as error:
        raise CatalogueError(
            f"{file}, after line {started[-1] if started else 1}: a quotation mark opens a cell and is not closed, or "
            f"is closed before its end ({error}); rows that follow would be read as one cell: close it, or write a "
            'quotation mark within a cell as ""'
        ) from error
    lines = np.array(started[1:], np.int64)
    return lines if len(lines) == rows else np.arange(2, rows + 2)


def _csv_rows(text: str, delimiter: str, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of each row that is not blank, the header included.

    Raises:
        csv.Error: `strict`, and a cell in quotation marks that does not end, or goes on after the closing one.
    """
    before = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
        line = 1
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def _header(file: Path) -> tuple[str, list[str]]:
    """What separates the cells, and the names of the columns."""
    with file.open("rb") as lines:
        start = lines.read(1 << 16)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        read_text(file)
    text = start.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise CatalogueError(f"{file}: empty; the first line must name the columns")
    if mark := re.match(r'"?sep=.?"?[\r\n]', text):
        raise CatalogueError(
            f"{file}, line 1: {mark[0].strip()!r} is a note for a spreadsheet, no header; delete the line, so that the "
            "first one names the columns"
        )
    options = ("\t",) if file.suffix == ".tsv" else DELIMITERS
    headers = {delimiter: next(iter(_csv_rows(text, delimiter)))[1] for delimiter in options}
    delimiter = max(options, key=lambda one: len(headers[one]))  # the first of those with most columns
    return delimiter, headers[delimiter]
