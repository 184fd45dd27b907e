"""What an item is called: a column's cell, else its picture's file name, else its row number.

Ids are how indexes, caches and reports speak of items, so each names one item, or loading stops.
"""

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
    ids = [str(text).strip() for text in texts.column(column).to_pylist()] if column is not None else rows.names
    faults = [f"{item!r}: rows {', '.join(map(str, at))}" for item, at in clashing(ids, rows.first_line or 1).items()]
    if faults:
        what = f"column {column!r}" if column else "the picture's name, for no column is called id"
        raise CatalogueError(
            f"{rows.file}: items need ids of their own ({what}), and these are empty or used twice:"
            f"{listing(faults, _SHOWN)}\ncorrect them, or name another column with data.id"
        )
    return ids


def clashing(ids: Sequence[str], first_row: int) -> dict[str, list[int]]:
    """Ids that are empty or used twice -> the rows they stand in."""
    places: dict[str, list[int]] = {}
    for row, item in enumerate(ids):
        places.setdefault(item, []).append(row + first_row)
    return {item: at for item, at in places.items() if len(at) > 1 or not item}
