"""What an item is called: a column's cell, else its picture's file name, else its row number.

Ids are how indexes, caches and reports speak of items, so each names one item, or loading stops.
"""

import unicodedata
from collections.abc import Sequence

import pyarrow as pa

from clipadapt.data.folders import Rows
from clipadapt.errors import CatalogueError, listing

_SHOWN = 5
"""Offenders that a message names; the rest is counted."""


def item_ids(rows: Rows, texts: pa.Table, column: str | None, split: str) -> list[str]:
    """An id per row.

    Raises:
        CatalogueError: an id that is empty or used twice; the first few with their rows.
    """
    if column is None and not rows.names:
        return [f"{split}-{row}" for row in range(len(rows.pictures))]
    ids = ids_of(rows, texts, column)
    faults = [f"{item!r}: rows {', '.join(map(str, at))}" for item, at in clashing(ids, rows).items()]
    if faults:
        what = f"column {column!r}" if column else "the picture's name, for no column is called id"
        raise CatalogueError(
            f"{rows.file}: items need ids of their own ({what}), and these are empty or used twice:"
            f"{listing(faults, _SHOWN)}\ncorrect them, or name another column with data.id"
        )
    return ids


def ids_of(rows: Rows, texts: pa.Table, column: str | None) -> list[str]:
    """The cells of a column, or the pictures' names, in composed Unicode: one spelling for one id."""
    names = rows.names if column is None else [str(text).strip() for text in texts.column(column).to_pylist()]
    return [name if name.isascii() else unicodedata.normalize("NFC", name) for name in names]


def clashing(ids: Sequence[str], rows: Rows) -> dict[str, list[int]]:
    """Ids that are empty or used twice -> the lines or rows they stand in."""
    places: dict[str, list[int]] = {}
    for row, item in enumerate(ids):
        places.setdefault(item, []).append(rows.line(row))
    return {item: at for item, at in places.items() if len(at) > 1 or not item}
