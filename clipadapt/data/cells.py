"""Arrow columns of any type -> columns of text, the form in which attributes, captions and filters see a catalogue.

Numbers lose nothing a person would write: 2011.0, which is what readers make of a column of years with gaps, reads
"2011" again. Lists become their members joined by a separator. Bytes and media columns have no text and are left out.
"""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from clipadapt.errors import CatalogueError

JOINT = "|"
"""Separates the members of a list in its text, unless an attribute names another separator."""


def text_table(table: pa.Table, separators: Mapping[str, str]) -> pa.Table:
    """Every column that has a text, as strings; nulls become "". Structs are opened, their fields become columns.

    Raises:
        CatalogueError: a field of a struct bears the name of another column, or a list member holds the separator.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for name in table.column_names:
        for inner, column in _opened(name, table.column(name)):
            if inner in columns:
                raise CatalogueError(f"two columns are called {inner!r}; rename one of them")
            text = _text(inner, column, separators.get(inner, JOINT))
            if text is not None:
                columns[inner] = text
    return pa.table(columns)


def unknown_blanked(column: pa.ChunkedArray, unknown: Sequence[str]) -> pa.ChunkedArray:
    """Cells that mean nobody knows become "": those listed, and blank ones, whatever the spaces around them."""
    marks = {"", *(mark.strip() for mark in unknown)}
    kept = ("" if text.strip() in marks else text for text in column.to_pylist())
    return pa.chunked_array([pa.array(kept, pa.string())])


def _opened(name: str, column: pa.ChunkedArray) -> list[tuple[str, pa.ChunkedArray]]:
    if not pa.types.is_struct(column.type):
        return [(name, column)]
    return [(field.name, inner) for field, inner in zip(column.type.fields, column.flatten(), strict=True)]


def _text(name: str, column: pa.ChunkedArray, separator: str) -> pa.ChunkedArray | None:
    kind = column.type
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.array([""] * len(column), pa.string())])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.chunked_array(
            [
                pa.array(
                    [_joined(name, cell, separator) for cell in column.to_pylist()],
                    pa.string(),
                )
            ]
        )
    if pa.types.is_floating(kind):
        return pa.chunked_array([pa.array([_number(cell) for cell in column.to_pylist()], pa.string())])
    if pa.types.is_dictionary(kind):
        return _text(name, column.cast(kind.value_type), separator)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_nested(kind):
        return None
    return column.cast(pa.string()).fill_null("")


def _joined(name: str, cell: list[object] | None, separator: str) -> str:
    members = [str(member) for member in cell or () if member is not None]
    if clash := next((member for member in members if separator in member), None):
        raise CatalogueError(
            f"column {name!r}: the list member {clash!r} holds the separator {separator!r}; "
            "name another one in data.attributes"
        )
    return separator.join(members)


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() else repr(value)
