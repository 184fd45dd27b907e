"""Arrow columns of any type -> columns of text, the form in which attributes, captions and filters see a catalogue.

| type of the source             | text                                                                       |
|--------------------------------|----------------------------------------------------------------------------|
| strings, dictionaries          | as they are; "007" stays "007"                                             |
| integers, floats, decimals     | the shortest that reads back to that number at its width: 38, 19.99        |
| booleans                       | true, false                                                                |
| dates, timestamps              | 2024-01-15, or 2024-01-15 10:30:00 with the zone where there is one        |
| lists, also of fixed size      | their members, joined by a separator; the column is multi-valued           |
| structs, maps, lists of structs| opened: a column per field or key (see clipadapt.data.nested)              |
| binary that is UTF-8           | the text                                                                   |
| other binary, media, vectors   | none: the column is left out, with the reason                              |
"""

import datetime
import decimal
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from clipadapt.data.nested import Lists, opened, short_names
from clipadapt.errors import CatalogueError

pc: Any = pyarrow.compute  # its functions are made on import

JOINT = "|"
"""Separates the members of a list in its text, unless an attribute names another separator."""
_OTHER_JOINTS = (";", "/", "~", "\x1f")
"""For lists that no attribute declares and whose members hold the usual one."""
_LONGEST = 32
"""Lists of more floating-point numbers than this are vectors, not values of an attribute."""


class TextTable(NamedTuple):
    """A table as text."""

    table: pa.Table
    """Every column that has a text, as strings; nulls are ""."""
    lists: dict[str, str]
    """Columns whose cells are lists -> what separates their members."""
    left_out: dict[str, str]
    """Columns without a text -> why."""


def text_table(table: pa.Table, separators: Mapping[str, str]) -> TextTable:
    """Every column as text; `separators` are those that attributes name.

    Raises:
        CatalogueError: a list member holds the separator that its attribute names.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    lists: dict[str, str] = {}
    left_out: dict[str, str] = {}
    leaves = [leaf for name in table.column_names for leaf in opened((name,), table.column(name))]
    for name, (_, column) in zip(short_names([path for path, _ in leaves]), leaves, strict=True):
        if isinstance(column, str):
            left_out[name] = column
        elif isinstance(column, Lists):
            texts, separator, reason = _joined(name, column, separators.get(name))
            if reason:
                left_out[name] = reason
            else:
                columns[name], lists[name] = pa.chunked_array([pa.array(texts, pa.string())]), separator
        elif pa.types.is_string(column.type):
            columns[name] = column.fill_null("")
        else:
            texts = _texts(column)
            if texts is None:
                left_out[name] = _no_text(column.type)
            else:
                columns[name] = pa.chunked_array([pa.array(texts, pa.string())])
    return TextTable(pa.table(columns), lists, left_out)


def plain_text(value: object) -> str:
    """One value of JSON or Python as the text that its Arrow column would have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return _number(np.float64(value) if isinstance(value, float) else value)
    if isinstance(value, decimal.Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime.datetime):
        midnight = value.tzinfo is None and value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    return str(value)


def _texts(column: pa.ChunkedArray | pa.Array) -> list[str] | None:
    """The text of every cell; None when the type has none."""
    kind = column.type
    if pa.types.is_string(kind):
        return column.fill_null("").to_pylist()
    if pa.types.is_floating(kind):
        values = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
        known: dict[Any, str] = {}
        width = {16: np.float16, 32: np.float32, 64: np.float64}[kind.bit_width]
        return [known.get(value) or known.setdefault(value, _number(value)) for value in values.astype(width)]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            texts = column.cast(pa.binary()).cast(pa.string()).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        return None if any("\0" in text for text in texts if text) else [text or "" for text in texts]
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_duration(kind):
        column = column.cast(pa.duration("us"), safe=False)
    elif pa.types.is_time(kind):
        column = column.cast(pa.time64("us"), safe=False)
    elif pa.types.is_nested(kind) or pa.types.is_union(kind):
        return None
    return [plain_text(value) for value in column.to_pylist()]


def _number(value: np.floating) -> str:
    """The shortest text of a number's own width; "" for NaN, which readers make of empty cells."""
    if math.isnan(value):
        return ""
    if value == 0 or 1e-9 <= abs(float(value)) < 1e16:  # float16 cannot hold the bounds
        return np.format_float_positional(value + 0.0, trim="-")
    return "inf" if value == math.inf else "-inf" if value == -math.inf else np.format_float_scientific(value, trim="-")


def _joined(name: str, column: Lists, separator: str | None) -> tuple[list[str], str, str]:
    """(text of each cell, the separator used, why the column is left out or "")."""
    if pa.types.is_floating(column.flat.type) and max((length or 0 for length in column.lengths), default=0) > _LONGEST:
        return [], "", f"lists of up to {max(length or 0 for length in column.lengths)} numbers: vectors, not values"
    flat = _texts(column.flat)
    if flat is None:
        return [], "", f"lists without a text: {_no_text(column.flat.type)}"
    chosen = separator or next(
        (joint for joint in (JOINT, *_OTHER_JOINTS) if not any(joint in member for member in flat)), JOINT
    )
    if clash := next((member for member in flat if chosen in member), None):
        raise CatalogueError(
            f"column {name!r}: the list member {clash!r} holds the separator {chosen!r}; "
            "name another one in data.attributes"
        )
    texts, at = [], 0
    for length in column.lengths:
        texts.append(chosen.join(member for member in flat[at : at + (length or 0)] if member))
        at += length or 0
    return texts, chosen, ""


def _no_text(kind: pa.DataType) -> str:
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return "bytes that are no text" if binary else f"its type has no text ({kind})"
