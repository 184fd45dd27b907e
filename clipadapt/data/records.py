"""JSON documents -> tables: JSON Lines, JSON arrays, and what COCO and Label Studio write.

    {"size": 38, "shot": "2024-01-15"}     -> size "38", shot "2024-01-15": a string stays what it is
    {"size": "M", "tags": ["a", "b"]}      -> beside the row above, size "M"; tags becomes a column of lists
    {"data": {"Colour": "Red"}}            -> Colour

Readers that guess a type per column turn dates into timestamps, refuse a column of numbers and texts, or quote the
texts; here every value is read by itself. Knows nothing of pictures.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipadapt.data.cells import plain_text
from clipadapt.data.label_formats import coco, is_coco, is_label_studio, label_studio
from clipadapt.data.nested import short_names
from clipadapt.errors import CatalogueError

Record = Mapping[str, Any]


def json_lines(file: Path) -> tuple[pa.Table, np.ndarray]:
    """A JSON object per line -> its table, and the line of each row.

    Raises:
        CatalogueError: a line that is no JSON object; the message names it.
    """
    records, lines = [], []
    for number, text in enumerate(read_text(file).split("\n"), 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise CatalogueError(
                f"{file}, line {number}: no JSON ({error.msg}, column {error.colno}); correct the line"
            ) from error
        except _KeyTwiceError as error:
            raise CatalogueError(f"{file}, line {number}: {error}") from error
        if not isinstance(record, dict):
            raise CatalogueError(f"{file}, line {number}: {text[:40]!r} is no object; write {{...}} in each line")
        records.append(record)
        lines.append(number)
    return table_of(records), np.array(lines, np.int64)


def json_document(file: Path) -> tuple[pa.Table, np.ndarray | None]:
    """An array of objects, JSON Lines under another name, or a document of COCO or Label Studio.

    Raises:
        CatalogueError: anything else; the message says what it looks like.
    """
    text = read_text(file)
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return json_lines(file)
        raise CatalogueError(f"{file}, line {error.lineno}: no JSON ({error.msg}); correct the file") from error
    except _KeyTwiceError as error:
        raise CatalogueError(f"{file}: {error}") from error
    if is_coco(document):
        return table_of(coco(document, str(file))), None
    if is_label_studio(document):
        return table_of(label_studio(document)), None
    if isinstance(document, dict):
        inner = [value for value in document.values() if _is_rows(value)]
        if len(inner) == 1:
            document = inner[0]
    if not isinstance(document, list) or not _is_rows(document):
        raise CatalogueError(
            f"{file}: a JSON source is an array of objects, one for each picture, or the export of COCO or "
            "Label Studio; this is none of them (docs/catalogues.md)"
        )
    return table_of(document), None


def looks_like_table(file: Path) -> bool:
    """Whether a JSON file begins as an array of objects, or is an export of COCO; not whether it can be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False
    start = text[:1000].split()
    coco_keys = '"images"' in text and '"annotations"' in text and '"image_id"' in text
    return bool(start) and ("".join(start)[:2] == "[{" or (start[0].startswith("{") and coco_keys))


def table_of(records: Sequence[Record]) -> pa.Table:
    """A column per key; objects within are opened, and lists become lists of text."""
    cells: dict[tuple[str, ...], list[Any]] = {}
    for row, record in enumerate(records):
        for path, value in _leaves((), record):
            column = cells.setdefault(path, [None] * len(records))
            column[row] = value
    columns = {name: _column(values) for name, values in zip(short_names(list(cells)), cells.values(), strict=True)}
    return pa.table(columns)


def read_text(file: Path) -> str:
    """A file's text.

    Raises:
        CatalogueError: it is no UTF-8; the message names line and byte.
    """
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise CatalogueError(
            f"{file}, line {line}: {kind} (byte 0x{data[error.start]:02x}); save the file as UTF-8 "
            "(a spreadsheet offers it as 'CSV UTF-8')"
        ) from error


class _KeyTwiceError(ValueError):
    """An object names a key twice, of which a reader would keep the last without a word."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        cells = ", ".join(repr(value)[:40] for key, value in pairs if key == twice)
        raise _KeyTwiceError(
            f"the key {twice!r} stands twice in one object, with {cells}; keep one, or write a list of both: "
            f'"{twice}": [...]'
        )
    return made


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(names down to it, a scalar or a list of scalars) of everything in a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    elif isinstance(value, list) and value and all(isinstance(member, dict) for member in value):
        keys = dict.fromkeys(key for member in value for key in member)
        for key in keys:
            inner = [member[key] for member in value if member.get(key) is not None]
            if not any(isinstance(one, dict) for one in inner):
                yield (*path, str(key)), inner
    elif path:
        yield path, value


def _column(values: Sequence[Any]) -> pa.Array:
    """Text, or lists of text where any value is a list."""
    if not any(isinstance(value, list) for value in values):
        return pa.array([None if value is None else plain_text(value) for value in values], pa.string())
    cells = [value if isinstance(value, list) or value is None else [value] for value in values]
    if any(isinstance(member, list) for cell in cells for member in cell or ()):  # such as the corners of boxes
        return pa.array([[[plain_text(one)] for one in cell or ()] for cell in cells], pa.list_(pa.list_(pa.string())))
    texts = [None if cell is None else [plain_text(one) for one in cell if one is not None] for cell in cells]
    return pa.array(texts, pa.list_(pa.string()))
