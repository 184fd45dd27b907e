"""Columns of an item table: the type their cells have, and the wider one that they take when others are added.

    typed(column, separator)             texts as whole numbers, numbers, dates or lists where every known cell is one
    widened("size", ours, theirs)        whole numbers + "38.5" -> numbers; numbers + "M" -> texts

A text column that held numbers or dates says so in its field, so that filters written before keep their meaning. So
does a list: by what its cells were split, for whatever is added later is split by it, too. Cells keep the shortest text
that says the same. Nothing here knows of rows that were removed, or of vectors.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute

from clipadapt.errors import CatalogueError

pc: Any = pyarrow.compute  # its functions are made on import

Order = Literal["numbers", "dates"]
_SEPARATOR, _ORDER = b"separator", b"order"
_WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-][0-9]{1,3})?$"  # 12E5 is a code: programs write 1.2e+06
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
_MOMENT = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}({_TIME})?$"
_SPAN = re.compile(
    r"(?P<year>[0-9]{4})(-(?P<month>[0-9]{2})(-(?P<day>[0-9]{2})([T ](?P<minute>[0-9]{2}:[0-9]{2})"
    r"(?P<second>:[0-9]{2})?(?P<fraction>\.[0-9]{1,9})?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})?)?)?)?"
)
_KINDS = {"whole": "whole numbers", "number": "numbers", "date": "dates", "text": "texts", "list": "lists of texts"}


class Column(NamedTuple):
    """Cells, and what is known of all of them."""

    cells: pa.ChunkedArray
    separator: str | None = None
    """What a list's values were separated by in the source; None: the source held lists, or it is no list."""
    order: Order | None = None
    """Of a text column: what its cells are compared by with < and >, as far as they are such."""

    @property
    def kind(self) -> str:
        kind = self.cells.type
        if pa.types.is_list(kind):
            return "list"
        if pa.types.is_integer(kind):
            return "whole"
        return "number" if pa.types.is_floating(kind) else "date" if pa.types.is_date(kind) else "text"

    @property
    def unknown(self) -> bool:
        """Whether no cell is known."""
        return self.kind != "list" and self.cells.null_count == len(self.cells)

    def field(self, name: str) -> pa.Field:
        """The field of a table that holds the cells; `of` reads it."""
        kept = {_SEPARATOR: self.separator, _ORDER: self.order}
        return pa.field(name, self.cells.type, metadata={key: text for key, text in kept.items() if text} or None)

    @classmethod
    def of(cls, table: pa.Table, name: str) -> "Column":
        """A table's column."""
        about = table.schema.field(name).metadata or {}
        separator, order = (about[key].decode() if key in about else None for key in (_SEPARATOR, _ORDER))
        return cls(table.column(name), separator, order)  # pyright: ignore[reportArgumentType]


def typed(cells: pa.ChunkedArray, separator: str | None = None) -> Column:
    """The narrowest type that all known cells have; empty texts are unknown.

    Args:
        separator: of the values in one text; None: each text is one value.
    """
    kind = cells.type
    if any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        lists = [[_text(part) for part in cell or () if part is not None] for cell in cells.to_pylist()]
        return Column(_lists(lists))
    if pa.types.is_integer(kind):
        whole = _narrowed(cells, pa.int64())
        return Column(cells.cast(pa.float64()) if whole is None else whole)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(cells.cast(pa.string()).cast(pa.float64()))  # by its text: the float32 19.99 is 19.99
    if pa.types.is_date(kind):
        return Column(cells.cast(pa.date32()))
    if pa.types.is_timestamp(kind):
        days = cells.cast(pa.date32(), safe=False)
        midnights = kind.tz is None and days.cast(kind).equals(cells)
        return Column(days) if midnights else Column(_texts(cells), order="dates")
    narrow = _narrowed(cells, pa.string())
    cells = _texts(cells) if narrow is None else narrow
    cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    if separator is not None:
        return split(cells, separator)
    trimmed = pc.utf8_trim_whitespace(cells)
    for pattern, wanted in ((_WHOLE, pa.int64()), (_NUMBER, pa.float64()), (_DATE, pa.date32())):
        if _all_match(trimmed, pattern) and (narrow := _narrowed(trimmed, wanted)) is not None:
            return Column(narrow)
    return Column(trimmed, order="dates") if _all_match(trimmed, _MOMENT) else Column(cells)


def split(cells: pa.ChunkedArray, separator: str) -> Column:
    """Texts that each hold several values, as lists."""
    lists = [[part.strip() for part in (text or "").split(separator) if part.strip()] for text in cells.to_pylist()]
    return Column(_lists(lists), separator)


def widened(name: str, ours: Column, theirs: Column) -> tuple[Column, Column, str | None]:
    """Both in one type that holds all their cells, and what changed for ours, in words; None where nothing did.

    Raises:
        CatalogueError: ours would have to be split by a separator that it holds, which would change what was found.
    """
    if theirs.unknown and ours.kind != "list":
        return ours, Column(pa.chunked_array([pa.nulls(len(theirs.cells), ours.cells.type)])), None
    if ours.unknown and theirs.kind != "list":
        return theirs._replace(cells=pa.chunked_array([pa.nulls(len(ours.cells), theirs.cells.type)])), theirs, None
    kinds = {ours.kind, theirs.kind}
    if "list" in kinds:
        return _both_lists(name, ours, theirs)
    if len(kinds) == 1:
        return ours, theirs, None
    if kinds == {"whole", "number"}:
        numbers = [_narrowed(column.cells, pa.float64()) for column in (ours, theirs)]
        if numbers[0] is not None and numbers[1] is not None:
            note = _note(name, ours, "number", theirs) if ours.kind == "whole" else None
            return Column(numbers[0]), Column(numbers[1]), note
    order = ours.order
    if ours.kind != "text":
        order = "dates" if ours.kind == "date" else "numbers"
    note = None if ours.kind == "text" else _note(name, ours, "text", theirs)
    return Column(_texts(ours.cells), order=order), Column(_texts(theirs.cells)), note


class Span(NamedTuple):
    """What a person means by a date: all of 2024, of 2024-01, of 2024-01-15, or of one minute or second of it."""

    start: float
    """Days since 1970."""
    end: float
    """The first moment after it."""
    zoned: bool
    """A zone was given: moments are compared as instants; else as their clocks read."""


def span(text: str) -> Span | None:
    """The time that a date or moment names; None where it is none."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    whole = text.strip() + {4: "-01-01", 7: "-01"}.get(len(text.strip()), "")
    try:
        start = datetime.fromisoformat(whole)
        if match["day"] is None:
            years, months = divmod(start.month if match["month"] else 12, 12)
            end = start.replace(year=start.year + years, month=months + 1)
        elif match["minute"] is None:
            end = start + timedelta(days=1)
        elif match["second"] is None:
            end = start + timedelta(minutes=1)
        else:
            end = start + (timedelta(microseconds=1) if match["fraction"] else timedelta(seconds=1))
    except (ValueError, OverflowError):
        return None
    zoned = match["zone"] is not None
    return Span(_days(start), _days(end), zoned)


def standing(text: str, order: Order, *, as_read: bool = False) -> float:
    """Where a text stands among numbers, or among dates in days since 1970; NaN where it is none.

    `as_read`: a moment by what its clock reads, whatever its zone.
    """
    try:
        if order == "numbers":
            number = float(text)
            return number if math.isfinite(number) else math.nan
        moment = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return _days(moment.replace(tzinfo=None) if as_read else moment)


def _days(moment: datetime) -> float:
    """Days since 1970; a moment without a zone counts as UTC."""
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() / 86_400


def _both_lists(name: str, ours: Column, theirs: Column) -> tuple[Column, Column, str | None]:
    if ours.kind == "list":
        if theirs.kind == "list":
            return ours, theirs, None
        whole = _texts(theirs.cells)
        return ours, split(whole, ours.separator) if ours.separator is not None else _single(whole), None
    cells, separator = _texts(ours.cells), theirs.separator
    lists = [text for text in cells.to_pylist() if separator is not None and text is not None and separator in text]
    if lists:
        raise CatalogueError(
            f"column {name!r}: the new items hold several values per cell, split at {separator!r}; the index holds "
            f"whole cells, such as {lists[0]!r}, and filters for them would find other items if they were split; give "
            "the new items the rule the index was built with, or build the index again from all of them"
        )
    return _single(cells)._replace(separator=separator), theirs, _note(name, ours, "list", theirs)


def _note(name: str, ours: Column, kind: str, theirs: Column) -> str:
    """What a column held, what it holds from now on, and the first new cell that made it so."""
    new = [] if theirs.kind == "list" else [text for text in _texts(theirs.cells).to_pylist() if text is not None]
    order: Order = "dates" if ours.kind == "date" else "numbers"
    fits = float.is_integer if kind == "number" else math.isfinite
    odd = [text for text in new if kind != "list" and not fits(standing(text, order))]
    such = f", such as {odd[0]!r}" if odd else ""
    return (
        f"column {name!r} held {_KINDS[ours.kind]} and holds {_KINDS[kind]} from now on: the new items have them{such}"
    )


def _single(cells: pa.ChunkedArray) -> Column:
    return Column(_lists([[text] if text is not None else [] for text in cells.to_pylist()]))


def _lists(lists: list[list[str]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])


def _texts(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(cells.type):
        return cells
    return pa.chunked_array(
        [pa.array([None if cell is None else _text(cell) for cell in cells.to_pylist()], pa.string())]
    )


def _text(cell: Any) -> str:
    """The shortest text of a cell: 38.0 is "38", a moment is ISO 8601."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def _all_match(cells: pa.ChunkedArray, pattern: str) -> bool:
    return cells.null_count < len(cells) and pc.all(pc.match_substring_regex(cells, pattern)).as_py()


def _narrowed(cells: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """Cells of another type; None where one of them would change, as 2024-02-31, which looks like a date."""
    try:
        return cells.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
