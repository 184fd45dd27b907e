"""Rows into and out of a collection: in requests of bounded size, taken back where one of them fails.

A change of one request is there whole or not at all. One of several is marked before and after in the collection's
properties (versions.py); what was written before a request failed is undone, and where that fails, too, the error says
what may be left. A change is counted as done when its last answer has arrived, and not before.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from clipadapt.errors import StoreError
from clipadapt.search.columns import Column, widened
from clipadapt.search.items import ID, PRODUCT, VECTOR
from clipadapt.search.milvus.fields import Fields
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import PAGE, Version, Versions

_CELLS: dict[str, tuple[Any, pa.DataType]] = {
    "whole": (0, pa.int64()), "number": (0.5, pa.float64()), "date": (0, pa.date32()), "text": ("x", pa.string()),
    "list": (["x"], pa.list_(pa.string())),
}  # fmt: skip
"""A cell of each kind and its type; made an array where it is needed, for pyarrow imports pandas to make one."""


def present(server: Server, collection: str, ids: Sequence[str]) -> list[str]:
    """Those of some ids that a collection holds, in the same order."""
    found = rows_of(server, collection, ids, [ID])
    return [one for one in ids if one in found]


def rows_of(server: Server, collection: str, ids: Sequence[str], fields: list[str]) -> dict[str, dict[str, Any]]:
    """Rows by id; ids that are not there are left out."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), PAGE):
        for row in server.call("get", collection, list(ids[start : start + PAGE]), output_fields=fields):
            found[row[ID]] = dict(row)
    return found


def fitted(fields: Fields, table: pa.Table) -> pa.Table | None:
    """New items in the types that the collection has; None where a column is new, or needs a wider type."""
    columns: dict[str, Column] = {}
    for name in table.column_names:
        theirs = Column.of(table, name)
        if name in (VECTOR, ID, PRODUCT):
            columns[name] = theirs
            continue
        one = fields.by_name.get(name)
        if one is None:
            return None
        cell, kind = _CELLS[one.kind]
        ours = Column(pa.chunked_array([pa.array([cell], kind)]), one.separator, one.order)
        wider, columns[name], _ = widened(name, ours, theirs)
        if wider.kind != one.kind or columns[name].kind != one.kind:
            return None
    return pa.table({name: column.cells for name, column in columns.items()})


def insert(server: Server, collection: str, rows: Sequence[dict[str, Any]]) -> None:
    """Into a collection that nobody reads yet."""
    for start in range(0, len(rows), PAGE):
        _expect(
            server, server.call("insert", collection, list(rows[start : start + PAGE]))["insert_count"], rows, start
        )


def upsert(versions: Versions, now: Version, rows: Sequence[dict[str, Any]], there: Sequence[str]) -> None:
    """Rows into the current collection; `there` are the ids that it has already.

    Raises:
        StoreError: a request failed; says whether anything of the change is left.
    """
    server, collection, old = versions.server, now.collection, {}
    if len(rows) > PAGE:
        old = rows_of(server, collection, there, ["*"])
        versions.begin_writing(collection)
    done = 0
    try:
        for start in range(0, len(rows), PAGE):
            done = min(start + PAGE, len(rows))  # whatever of a failed request arrived is undone, too
            part = list(rows[start : start + PAGE])
            _expect(server, server.call("upsert", collection, part)["upsert_count"], rows, start)
    except StoreError as error:
        if len(rows) > PAGE:
            _undo(versions, collection, [row[ID] for row in rows[:done]], old, error)
        raise
    versions.changed(collection)


def remove(versions: Versions, now: Version, ids: Sequence[str]) -> None:
    """Takes rows out of the current collection.

    Raises:
        StoreError: as `upsert`.
    """
    server, collection, old = versions.server, now.collection, {}
    if len(ids) > PAGE:
        old = rows_of(server, collection, ids, ["*"])
        versions.begin_writing(collection)
    try:
        for start in range(0, len(ids), PAGE):
            server.call("delete", collection, ids=list(ids[start : start + PAGE]))
    except StoreError as error:
        if old:
            _undo(versions, collection, [], old, error)
        raise
    versions.changed(collection)


def _undo(versions: Versions, collection: str, ids: Sequence[str], old: dict[str, Any], error: StoreError) -> None:
    server = versions.server
    try:
        new = [one for one in ids if one not in old]
        for start in range(0, len(new), PAGE):
            server.call("delete", collection, ids=new[start : start + PAGE])
        back = list(old.values())
        for start in range(0, len(back), PAGE):
            server.call("upsert", collection, back[start : start + PAGE])
        versions.changed(collection)
    except StoreError as second:
        raise StoreError(
            f"{error}\nand what was written before could not be taken back ({second}): some of the "
            f"{len(ids) or len(old)} items may be changed; when the server answers again, repeat the change "
            "(index add --replace, or remove)"
        ) from second


def _expect(server: Server, count: int, rows: Sequence[Any], start: int) -> None:
    wanted = len(rows[start : start + PAGE])
    if count != wanted:
        raise StoreError(f"{server.address}: took {count} of {wanted} rows of a request; nothing is counted as done")
