"""Conditions on items, typed against the item table: `Pattern=Striped`, `price<50`, `colour in (red, blue)`.

    Pattern=Striped    'Sleeve Length'!='Short Sleeves'    price<50    added>=2026-01-31
    colour in (red, "off-white, warm")    colour not in (red)    Pattern is unknown    Pattern is known

Several conditions must all hold. An unknown is never a match, not even for != and not in: nobody knows that it is not.
A list matches = when one of its values does, and != when none does. Values are data: compared in arrays, never put into
a query language. Knows nothing of vectors: conditions and items in, one boolean per row out.
"""

import difflib
import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from clipadapt.errors import UsageError
from clipadapt.search.items import Items, Numbers, Texts

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "is unknown", "is known"]

_QUOTED = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_CONDITION = re.compile(
    rf"\s*(?P<column>{_QUOTED}|.+?)\s*"
    r"(?:(?P<operator>==|!=|<=|>=|=|<|>)|\b(?P<word>(?:not\s+)?in(?=\s*\()|is\s+(?:un)?known(?=\s*$)))\s*(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
_PART = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(,|$)", re.DOTALL)
_FORMS = "write COLUMN=VALUE, !=, <, <=, >, >=, in (A, B), not in (A, B), is unknown or is known"


class Condition(NamedTuple):
    """One column compared with values, as text; which type they are depends on the column."""

    column: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        values = (
            f" ({', '.join(map(repr, self.values))})"
            if self.operator[-2:] == "in"
            else "".join(f" {value!r}" for value in self.values)
        )
        return f"{self.column!r} {self.operator}{values}"


def parse(clause: str) -> Condition:
    """One condition from what a person typed; quotes around a column or value keep signs and commas in it.

    Raises:
        UsageError: no operator, an unknown one, or no value.
    """
    match = _CONDITION.fullmatch(clause)
    if match is None:
        raise UsageError(f"condition {clause!r}: no operator understood; {_FORMS}")
    column, rest = _unquoted(match["column"].strip()), match["rest"].strip()
    operator = " ".join((match["operator"] or match["word"]).lower().split())
    if operator in ("is unknown", "is known"):
        return Condition(column, operator)  # pyright: ignore[reportArgumentType]
    if operator in ("in", "not in"):
        if not (rest.startswith("(") and rest.endswith(")")) or not (values := _parts(rest[1:-1])):
            raise UsageError(f"condition {clause!r}: a list of values goes in parentheses, such as (red, blue)")
        return Condition(column, operator, values)  # pyright: ignore[reportArgumentType]
    if not rest or rest[0] in "=<>!~":
        what = f"no operator {operator + rest[0]!r}" if rest else f"no value after {operator!r}"
        raise UsageError(f"condition {clause!r}: {what}; {_FORMS} (an empty cell: {column} is unknown)")
    return Condition(column, "=" if operator == "==" else operator, (_unquoted(rest),))  # pyright: ignore[reportArgumentType]


Where = str | Condition | Sequence[str | Condition] | None
"""What a search takes: one condition, several that must all hold, or none; as text or parsed."""


def parse_all(where: Where) -> tuple[Condition, ...]:
    """Conditions that must all hold, in any form that a search takes."""
    clauses = () if where is None else (where,) if isinstance(where, str | Condition) else where
    return tuple(parse(clause) if isinstance(clause, str) else clause for clause in clauses)


def matching(items: Items, conditions: Sequence[Condition]) -> Bool[np.ndarray, " rows"]:
    """Which rows meet all conditions; removed items are judged like any other.

    Raises:
        UsageError: no such column, an operator that its type does not have, or a value of another type.
    """
    mask = np.ones(items.rows, bool)
    for condition in conditions:
        if condition.column not in items.columns:
            near, columns = _near(condition.column, items.columns), ", ".join(items.columns)
            raise UsageError(f"condition {condition}: no column {condition.column!r}{near}; there are: {columns}")
        view = items.view(condition.column)
        mask &= _numbers(view, condition) if isinstance(view, Numbers) else _texts(view, condition, items.rows)
    return mask


def unmatched(items: Items, condition: Condition) -> str | None:
    """Why a condition on a text column matches nothing, when no item has ever had that value."""
    view = items.view(condition.column)
    if condition.operator not in ("=", "in") or not isinstance(view, Texts):
        return None
    missing = [value for value in condition.values if value not in view.values]
    return f"no item has {condition.column} = {missing[0]!r}{_near(missing[0], view.values)}" if missing else None


def _texts(view: Texts, condition: Condition, rows: int) -> Bool[np.ndarray, " rows"]:
    operator, wanted = condition.operator, set(condition.values)
    if operator in ("<", "<=", ">", ">="):
        raise UsageError(f"condition {condition}: column {condition.column!r} holds texts, which have no order; "
                         "use =, !=, in, not in, is unknown or is known")  # fmt: skip
    known = _any(view, view.codes >= 0, rows)
    if operator == "is known":
        return known
    if operator == "is unknown":
        return ~known
    chosen = np.array([value in wanted for value in view.values] + [False])  # the last answers for code -1
    found = _any(view, chosen[view.codes], rows)
    return found if operator in ("=", "in") else known & ~found


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
    wanted = [_number(value, view.dates, condition) for value in condition.values]
    return view.known & _compared(view.values, condition.operator, wanted)


def _compared(
    values: Shaped[np.ndarray, " rows"], operator: Operator, wanted: Sequence[int | float]
) -> Bool[np.ndarray, " rows"]:
    if operator in ("=", "in"):
        return np.isin(values, wanted)
    if operator in ("!=", "not in"):
        return ~np.isin(values, wanted)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[operator]
    return compare(values, wanted[0])


def _number(text: str, dates: bool, condition: Condition) -> int | float:
    try:
        if dates:
            return (date.fromisoformat(text) - date(1970, 1, 1)).days
        number = int(text) if text.lstrip("+-").isdecimal() else float(text)
        if math.isfinite(number):
            return number
    except ValueError:
        pass
    kind = "dates, such as 2026-01-31" if dates else "numbers"
    apart = "; each condition is given by itself" if re.search(r"\s(and|or)\s", text, re.IGNORECASE) else ""
    raise UsageError(f"condition {condition}: column {condition.column!r} holds {kind}; {text!r} is none{apart}")


def _parts(text: str) -> tuple[str, ...]:
    """Comma-separated values; commas inside quotes belong to the value."""
    return tuple(_unquoted(part[1]) for part in _PART.finditer(text) if part[1])


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
