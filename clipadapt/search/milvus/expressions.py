r"""Conditions -> an expression of Milvus that means the same as filters.py does.

    expression(parse_all(["Pattern!=Striped", "price<50"]), fields)
    '(c0_Pattern not in ["Striped"] and c0_Pattern is not null) and (c1_price < 50)'

What Milvus does otherwise, and is written out here (pymilvus 3.0.2, milvus-lite 3.2.2): `not in` and `not (...)` match
null; a whole number compared with 3.5 is compared with a whole one; texts have no order but that of their letters. So
nothing is negated as a whole, and every negative asks for `is not null` beside. Values are quoted as JSON quotes them,
less the escapes that milvus-lite does not read (\u0001, \b, \f): templated parameters fail there.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence

from clipadapt.errors import UsageError
from clipadapt.search.columns import Span, span, standing
from clipadapt.search.filters import CIRCLES, Condition, matching
from clipadapt.search.items import ID, PRODUCT
from clipadapt.search.milvus.fields import Field, Fields

NOTHING = f'{ID} == ""'
"""An expression that no item meets: no id is empty."""
_ESCAPE = re.compile(r"\\(?:u00([0-9a-f]{2})|(.))")
_RAW = {"b": "\b", "f": "\f"}
_LARGEST = 2**63 - 1


def expression(conditions: Sequence[Condition], fields: Fields) -> str:
    """All of them; empty where there are none.

    Raises:
        UsageError: as `matching`: no such column, an operator or a value that its type does not have; or a circle,
            for expressions have no distance.
    """
    if conditions:
        matching(fields.empty(), conditions)
    for condition in conditions:
        if condition.operator in CIRCLES:
            raise UsageError(
                f"condition {condition.brief}: Milvus compares no distances; give a box instead, such as "
                "'latitude>=52.4', 'latitude<=52.6', 'longitude>=13.2' and 'longitude<=13.6'"
            )
    return joined(_one(condition, fields.by_name[condition.column]) for condition in conditions)


def joined(parts: Iterable[str], by: str = "and") -> str:
    """Expressions in one; those that are empty are left out."""
    wanted = [part for part in parts if part]
    return wanted[0] if len(wanted) == 1 else f" {by} ".join(f"({part})" for part in wanted)


def quoted(text: str) -> str:
    """A text as expressions take it."""

    def plain(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else _RAW.get(match[2], match[0])

    return _ESCAPE.sub(plain, json.dumps(text, ensure_ascii=False))


def one_of(field: str, texts: Sequence[str]) -> str:
    """A field of texts that holds one of these."""
    return f"{field} in [{', '.join(map(quoted, texts))}]" if texts else NOTHING


def none_of_products(products: Sequence[str]) -> str:
    """Items of other products; empty where there are none."""
    return f"{PRODUCT} not in [{', '.join(map(quoted, products))}]" if products else ""


def holds(field: Field, values: Sequence[str]) -> str:
    """Items whose text or list has one of these values."""
    if field.kind == "list":
        return f"array_contains_any({field.field}, [{', '.join(map(quoted, values))}])"
    return one_of(field.field, values)


def known(field: Field) -> str:
    """Items whose cell is known."""
    return f"array_length({field.field}) > 0" if field.kind == "list" else f"{field.field} is not null"


def lacks(field: Field, values: Sequence[str]) -> str:
    """Items whose text or list is known and has none of these values."""
    if field.kind == "list":
        return f"{known(field)} and not {holds(field, values)}"
    return f"{field.field} not in [{', '.join(map(quoted, values))}] and {known(field)}"


def _one(condition: Condition, field: Field) -> str:
    if condition.operator == "is known":
        return known(field)
    if condition.operator == "is unknown":
        return f"array_length({field.field}) == 0" if field.kind == "list" else f"{field.field} is null"
    if field.kind == "date":
        return _periods(field.field, _spans(condition), condition.operator, whole=True)
    if field.kind in ("whole", "number"):
        return _numbers(condition, field)
    return _ordered(condition, field) if field.order is not None else _texts(condition, field)


def _texts(condition: Condition, field: Field) -> str:
    return (lacks if condition.operator in ("!=", "not in") else holds)(field, condition.values)


def _ordered(condition: Condition, field: Field) -> str:
    """Texts of which some are dates or numbers: equal as texts, or by where they stand."""
    compared = condition.operator in ("<", "<=", ">", ">=")
    negative = condition.operator in ("!=", "not in")
    if field.order == "dates":
        parts = []
        for period in _spans(condition):
            at = field.at if period.zoned else field.read
            part = _periods(at, [period], condition.operator, whole=False)
            parts.append(joined([f"{at} is null", part], "or") if negative else part)
    else:
        places = [place for value in condition.values if not math.isnan(place := standing(value, "numbers"))]
        if compared:
            return f"{field.at} {condition.operator} {places[0]!r}"
        listed = ", ".join(map(repr, places))
        parts = [f"{field.at} is null or {field.at} not in [{listed}]" if negative else f"{field.at} in [{listed}]"]
        parts = parts if places else []
    if compared:
        return parts[0]
    if negative:
        return joined([lacks(field, condition.values), *parts])
    return joined([holds(field, condition.values), *parts], "or")


def _spans(condition: Condition) -> list[Span]:
    return [period for value in condition.values if (period := span(value)) is not None]


def _periods(field: str, periods: Sequence[Span], operator: str, *, whole: bool) -> str:
    """Days against the times that a condition names. `whole`: the field holds whole days."""
    ends = [(_day(one.start, whole), _day(one.end, whole)) for one in periods]
    start, end = ends[0]
    if operator in ("<", "<=", ">", ">="):
        return f"{field} {'<' if operator in ('<', '<=') else '>='} {start if operator in ('<', '>=') else end}"
    if operator in ("=", "in"):
        return joined([f"{field} >= {start} and {field} < {end}" for start, end in ends], "or")
    return joined([f"{field} < {start} or {field} >= {end}" for start, end in ends])


def _day(days: float, whole: bool) -> str:
    return str(math.ceil(days)) if whole else repr(days)


def _numbers(condition: Condition, field: Field) -> str:
    values = [float(value) for value in condition.values]
    if field.kind == "number":
        literals = [repr(value) for value in values]
    else:
        exact = [int(value) if value.lstrip("+-").isdecimal() else float(value) for value in condition.values]
        if condition.operator in ("<", "<=", ">", ">="):
            return _whole(field.field, condition.operator, exact[0])
        literals = [str(int(value)) for value in exact if value == int(value) and abs(value) <= _LARGEST]
    if condition.operator in ("=", "in"):
        return f"{field.field} in [{', '.join(literals)}]" if literals else NOTHING
    if condition.operator in ("!=", "not in"):
        return joined([f"{field.field} not in [{', '.join(literals)}]" if literals else "", known(field)])
    return f"{field.field} {condition.operator} {literals[0]}"


def _whole(field: str, operator: str, value: float) -> str:
    """A comparison of whole numbers: below 3.5 is below 4, and so on."""
    whole = math.ceil(value) if operator in ("<", ">=") else math.floor(value)
    if abs(whole) > _LARGEST:
        return f"{field} is not null" if (whole > 0) == (operator[0] == "<") else NOTHING
    return f"{field} {operator} {whole}"
