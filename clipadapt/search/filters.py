"""Conditions on items, typed against the item table: `Pattern=Striped`, `price<50`, `colour in (red, blue)`.

    Pattern=Striped    'Sleeve Length'!='Short Sleeves'    price<50    added>=2026-01-31
    shot>=2024-01-03   shot=2024-01   'shot<2024-01-03 10:30'
    colour in (red, "off-white, warm")    colour not in (red)    Pattern is unknown    Pattern is known
    within 10 km of 52.52, 13.405    not within 500 m of 52.52, 13.405

Several conditions must all hold. An unknown is never a match, not even for != and not in: nobody knows that it is not.
A date stands for all of its year, month, day or minute, so that <= 2024-01-03 includes that day; moments are compared
as their clocks read unless the condition names a zone.
A distance is from the point of the columns latitude and longitude, in degrees.
A list matches = when one of its values does, and != when none does. Values are data: compared in arrays, never put into
a query language. Knows nothing of vectors: conditions and items in, one boolean per row out.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from clipadapt.errors import UsageError, brief
from clipadapt.search.columns import Span, span, standing
from clipadapt.search.distance import LATITUDE, LONGITUDE, circle
from clipadapt.search.items import Items
from clipadapt.search.views import Numbers, Texts

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is unknown", "is known", "within", "not within"]

NAMING_VALUES = ("=", "!=", "in", "not in")
"""Operators whose values an item either has or has not."""
CIRCLES = ("within", "not within")
"""Operators of places; their values are a distance, a latitude and a longitude."""

_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_CONDITION = re.compile(
    rf"\s*+(?P<column>(?:{_QUOTED})\s*+|.+?)"  # possessive, or a long run of spaces would take hours
    r"(?:(?P<operator>==|!=|<=|>=|=|<|>)|\b(?P<word>(?:not\s+)?in(?=\s*\()|is\s+(?:un)?known(?=\s*$)))\s*+(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_CIRCLE = re.compile(
    r"\s*(?P<operator>(?:not\s+)?within)\s(?P<distance>[^=<>!]+)\sof\s(?P<point>[^=<>!]+)", re.DOTALL | re.IGNORECASE
)
_PLAIN = re.compile(r"\w[\w.+-]*(?: [\w.+-]+)*")
"""What needs no quotes."""
_PART = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(,|$)", re.DOTALL)
_COMPARED = 10_000
"""Most names that a misspelt one is compared with."""
_FORMS = (
    "write COLUMN=VALUE, !=, <, <=, >, >=, in (A, B), not in (A, B), is unknown or is known, or within 10 km of "
    "LATITUDE, LONGITUDE"
)


class Condition(NamedTuple):
    """One column compared with values, as text; which type they are depends on the column."""

    column: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As somebody would type it: `parse` makes the same condition of it."""
        if self.operator in CIRCLES:
            distance, latitude, longitude = self.values
            return f"{self.operator} {distance} of {latitude}, {longitude}"
        column, *values = map(_quoted, (self.column, *self.values))
        if self.operator[-2:] == "in":
            return f"{column} {self.operator} ({', '.join(values)})"
        return " ".join((column, self.operator, *values))

    @property
    def brief(self) -> str:
        """As a message quotes it."""
        return brief(str(self))


def parse(clause: str) -> Condition:
    """One condition from what a person typed; quotes around a column or value keep signs and commas in it.

    Raises:
        UsageError: no operator, an unknown one, or no value.
    """
    if place := _CIRCLE.fullmatch(clause):
        return _circle(clause, place)
    match = _CONDITION.fullmatch(clause)
    if match is None:
        raise UsageError(f"condition {brief(clause)!r}: no operator understood; {_FORMS}")
    column, rest = _unquoted(match["column"].strip()), match["rest"].strip()
    operator = " ".join((match["operator"] or match["word"]).lower().split())
    if operator in ("is unknown", "is known"):
        return Condition(column, operator)  # pyright: ignore[reportArgumentType]
    if operator in ("in", "not in"):
        if not (rest.startswith("(") and rest.endswith(")")) or not (values := _parts(rest[1:-1])):
            raise UsageError(f"condition {brief(clause)!r}: a list of values goes in parentheses, such as (red, blue)")
        return Condition(column, operator, values)  # pyright: ignore[reportArgumentType]
    if not rest or rest[0] in "=<>!~":
        what = f"no operator {operator + rest[0]!r}" if rest else f"no value after {operator!r}"
        raise UsageError(f"condition {brief(clause)!r}: {what}; {_FORMS} (an empty cell: {brief(column)} is unknown)")
    return Condition(column, "=" if operator == "==" else operator, (_unquoted(rest),))  # pyright: ignore[reportArgumentType]


def _circle(clause: str, match: re.Match[str]) -> Condition:
    point = [part.strip() for part in match["point"].strip(" ()").split(",")]
    if len(point) != 2:
        raise UsageError(
            f"condition {brief(clause)!r}: a point is its latitude and longitude in degrees, such as 52.52, 13.405"
        )
    values = (match["distance"].strip(), *point)
    try:
        circle(*values)
    except UsageError as error:
        raise UsageError(f"condition {brief(clause)!r}: {error}") from None
    return Condition(LATITUDE, " ".join(match["operator"].lower().split()), values)  # pyright: ignore[reportArgumentType]


Where = str | Condition | Sequence[str | Condition] | Mapping[str, object] | None
"""What a search takes: one condition, several that must all hold, or none; as text or parsed. Or a mapping of columns
to what they must be: a value, several of which one must be there, or None for unknown."""


def parse_all(where: "Where | Sequence[object]") -> tuple[Condition, ...]:
    """Conditions that must all hold, in any form that a search takes.

    Raises:
        UsageError: a condition at fault, or no condition at all.
    """
    if isinstance(where, Mapping):
        return tuple(_of_mapping(column, value) for column, value in where.items())
    clauses = () if where is None else (where,) if isinstance(where, str | Condition) else tuple(where)
    return tuple(clause if isinstance(clause, Condition) else parse(_clause(clause)) for clause in clauses)


def _clause(clause: object) -> str:
    if isinstance(clause, str):
        return clause
    raise UsageError(
        f"condition {brief(repr(clause))}: give texts such as 'price<50', or a mapping such as {{'Pattern': 'Striped'}}"
    )


def _of_mapping(column: str, value: object) -> Condition:
    if value is None:
        return Condition(column, "is unknown")
    if isinstance(value, list | tuple | set | frozenset | np.ndarray) and len(value):
        return Condition(column, "in", tuple(_as_text(column, part) for part in value))
    return Condition(column, "=", (_as_text(column, value),))


def _as_text(column: str, value: object) -> str:
    """A value as a person would type it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    raise UsageError(
        f"condition on {brief(column)!r}: {brief(repr(value))} is no value; give a text, a number, a date, a list of "
        f"them, or None for unknown; for anything else write a text such as '{brief(column)}<50'"
    )


def matching(items: Items, conditions: Sequence[Condition]) -> Bool[np.ndarray, " rows"]:
    """Which rows meet all conditions; removed items are judged like any other.

    Raises:
        UsageError: no such column, an operator that its type does not have, or a value of another type.
    """
    mask = np.ones(items.rows, bool)
    for condition in conditions:
        for column in (LATITUDE, LONGITUDE) if condition.operator in CIRCLES else (condition.column,):
            if column not in items.columns:
                near, columns = _meant(column, items.columns), ", ".join(items.columns)
                raise UsageError(
                    f"condition {condition.brief}: no column {brief(column)!r}{near}; there are: {columns}"
                )
        if condition.operator in CIRCLES:
            mask &= _places(items, condition)
            continue
        view = items.view(condition.column)
        mask &= _numbers(view, condition) if isinstance(view, Numbers) else _texts(view, condition, items.rows)
    return mask


def unmatched(items: Items, condition: Condition) -> str | None:
    """What a condition on a text column names that no item has ever had, which "=" never and "!=" always matches."""
    if condition.operator not in NAMING_VALUES or not isinstance(view := items.view(condition.column), Texts):
        return None
    missing = [value for value in condition.values if value not in view.values]
    if not missing:
        return None
    lacking = f"no item has {condition.column} = {brief(missing[0])!r}"
    several = [part.strip() for part in re.split(r",|\bor\b", missing[0])]
    if condition.operator in ("=", "!=") and len(several) > 1 and set(several) & set(view.values):
        listed = Condition(condition.column, "in" if condition.operator == "=" else "not in", tuple(several))
        return f"{lacking} (for each of several values write: {brief(str(listed), 300)})"
    return f"{lacking}{_near(missing[0], view.values)}"


def _places(items: Items, condition: Condition) -> Bool[np.ndarray, " rows"]:
    points = []
    for column in (LATITUDE, LONGITUDE):
        view = items.view(column)
        if not isinstance(view, Numbers) or view.dates:
            raise UsageError(f"condition {condition.brief}: column {column!r} holds no numbers; places are in degrees")
        points.append(view)
    latitudes, longitudes = points
    inside = circle(*condition.values).holds(latitudes.values, longitudes.values)
    return latitudes.known & longitudes.known & (inside == (condition.operator == "within"))


def _texts(view: Texts, condition: Condition, rows: int) -> Bool[np.ndarray, " rows"]:
    operator, wanted = condition.operator, set(condition.values)
    ordered = operator in ("<", "<=", ">", ">=")
    if ordered and view.order is None:
        raise UsageError(_no_order(view, condition))
    known = _any(view, view.codes >= 0, rows)
    if operator == "is known":
        return known
    if operator == "is unknown":
        return ~known
    chosen = np.array(
        [not ordered and value in wanted for value in view.values] + [False]
    )  # the last answers for code -1
    sought = operator if ordered else "in"
    if view.order == "dates":
        periods = [period for value in condition.values if (period := _span(value, condition, required=ordered))]
        for period in periods:
            values = np.array([standing(value, view.order, as_read=not period.zoned) for value in view.values])
            chosen[:-1] |= _within(values, sought, [period])
    elif view.order is not None:
        places = [standing(value, view.order) for value in condition.values]
        if ordered and math.isnan(places[0]):
            raise UsageError(f"condition {condition.brief}: column {condition.column!r} is ordered by its numbers; "
                             f"{brief(condition.values[0])!r} is none")  # fmt: skip
        values = np.array([standing(value, view.order) for value in view.values])
        chosen[:-1] |= ~np.isnan(values) & _compared(values, sought, places)
    matches = _any(view, chosen[view.codes], rows)
    return known & ~matches if operator in ("!=", "not in") else matches


def _no_order(view: Texts, condition: Condition) -> str:
    """Why < and > are refused: one cell that is neither a number nor a date makes a column texts."""
    odd = next((text for text in view.values if _plain_number(text) is None and span(text) is None), None)
    such = f", such as {brief(odd)!r}" if odd is not None else ""
    return (
        f"condition {condition.brief}: column {condition.column!r} holds texts{such}, which have no order; use =, !=, "
        "in, not in, is unknown or is known; to compare with < and >, write each of its cells as 1299.50 or as "
        "2026-01-31, leave empty what is not known, and build the index again"
    )


def _any(view: Texts, cells: Bool[np.ndarray, " cells"], rows: int) -> Bool[np.ndarray, " rows"]:
    if view.rows is None:
        return cells
    mask = np.zeros(rows, bool)
    mask[view.rows[cells]] = True
    return mask


def _numbers(view: Numbers, condition: Condition) -> Bool[np.ndarray, " rows"]:
    if condition.operator == "is known":
        return view.known
    if condition.operator == "is unknown":
        return ~view.known
    if view.dates:
        periods = [period for value in condition.values if (period := _span(value, condition, required=True))]
        return view.known & _within(view.values, condition.operator, periods)
    wanted = [_number(value, condition) for value in condition.values]
    return view.known & _compared(view.values, condition.operator, wanted)


def _within(
    values: Shaped[np.ndarray, " some"], operator: Operator, wanted: Sequence[Span]
) -> Bool[np.ndarray, " some"]:
    """Dates against the times that conditions name; NaN, which is no date, meets none but "not"."""
    start, end = wanted[0].start, wanted[0].end
    if operator in ("<", "<=", ">", ">="):
        return {"<": values < start, "<=": values < end, ">": values >= end, ">=": values >= start}[operator]
    inside = np.zeros(len(values), bool)
    for time in wanted:
        inside |= (values >= time.start) & (values < time.end)
    return inside if operator in ("=", "in") else ~inside


def _span(text: str, condition: Condition, *, required: bool) -> Span | None:
    period = span(text)
    if period is None and required:
        raise UsageError(
            f"condition {condition.brief}: column {condition.column!r} holds dates, such as 2026-01-31, 2026-01 or "
            f"'2026-01-31 10:30'; {brief(text)!r} is none{_apart(text)}"
        )
    return period


def _compared(
    values: Shaped[np.ndarray, " rows"], operator: Operator, wanted: Sequence[int | float]
) -> Bool[np.ndarray, " rows"]:
    if operator in ("=", "in"):
        return np.isin(values, wanted)
    if operator in ("!=", "not in"):
        return ~np.isin(values, wanted)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[operator]
    return compare(values, wanted[0])


def _number(text: str, condition: Condition) -> int | float:
    number = _plain_number(text)
    if number is not None:
        return number
    raise UsageError(
        f"condition {condition.brief}: column {condition.column!r} holds numbers; {brief(text)!r} is none{_apart(text)}"
    )


def _plain_number(text: str) -> int | float | None:
    """A text as a number; None where it is none, or not finite."""
    try:
        number = int(text) if text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _apart(text: str) -> str:
    return "; each condition is given by itself" if re.search(r"\s(and|or)\s", text, re.IGNORECASE) else ""


def _parts(text: str) -> tuple[str, ...]:
    """Comma-separated values; commas inside quotes belong to the value."""
    return tuple(_unquoted(part[1]) for part in _PART.finditer(text) if part[1])


def _quoted(text: str) -> str:
    """As `_unquoted` reads it."""
    return text if _PLAIN.fullmatch(text) else "'" + re.sub(r"([\\'])", r"\\\1", text) + "'"


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _meant(column: str, known: Sequence[str]) -> str:
    """The column that was meant: one whose name goes on with a sign, which needs quotes, or the nearest."""
    signed = next((name for name in known if re.match(rf"{re.escape(column)}\s*[=<>!]", name)), None)
    return f" (a name with a sign in it needs quotes: {_quoted(signed)}=...)" if signed else _near(column, known)


def _near(name: str, known: Sequence[str]) -> str:
    if len(known) > _COMPARED:  # microseconds each, and a service would spend them on anyone
        return ""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
