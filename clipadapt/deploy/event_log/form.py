"""The two kinds of records: events, what people saw and clicked, and answers, what was found for them.

    event     {"ts", "user", "release", "arm", "query_id", "item", "position", "event": "impression"|"click"}
    answer    {"ts", "user", "release", "arm", "query_id", "mirrored", "kind", "k", "where", "understood", "items",
               "took_ms", "error", "query"}

ts is UTC with milliseconds; user a salted hash, null where there is none or where the client chose the arm itself, for
then the answer is no part of a comparison of users; position counts from 1. A mirrored answer is one that nobody saw:
the candidate's, to the query of the same query_id. where names columns only; understood names values of the catalogue
that the words were read for ("Pattern: Striped", "not Length: Mini") and columns that they compare; query (the words)
is null unless the service was started to keep it. Nothing here knows of files.
"""

import datetime
import json
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["events", "answers"]
KINDS: tuple[Kind, ...] = ("events", "answers")
What = Literal["impression", "click"]

_TIME = pa.timestamp("ms", tz="UTC")
SCHEMAS: dict[Kind, pa.Schema] = {
    "events": pa.schema(
        [
            pa.field("ts", _TIME, nullable=False),
            pa.field("user", pa.string()),
            pa.field("release", pa.string(), nullable=False),
            pa.field("arm", pa.string(), nullable=False),
            pa.field("query_id", pa.string(), nullable=False),
            pa.field("item", pa.string(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("event", pa.string(), nullable=False),
        ]
    ),
    "answers": pa.schema(
        [
            pa.field("ts", _TIME, nullable=False),
            pa.field("user", pa.string()),
            pa.field("release", pa.string(), nullable=False),
            pa.field("arm", pa.string(), nullable=False),
            pa.field("query_id", pa.string(), nullable=False),
            pa.field("mirrored", pa.bool_(), nullable=False),
            pa.field("kind", pa.string()),
            pa.field("k", pa.int32()),
            pa.field("where", pa.list_(pa.string())),
            pa.field("understood", pa.list_(pa.string())),
            pa.field("items", pa.list_(pa.string()), nullable=False),
            pa.field("took_ms", pa.float64()),
            pa.field("error", pa.string()),
            pa.field("query", pa.string()),
        ]
    ),
}
"""Kind -> its columns, as a Parquet file has them."""


def stamp(moment: datetime.datetime) -> str:
    """2030-01-02T03:04:05.678Z."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(record: dict[str, Any]) -> bytes:
    """One line with its end; whatever a text holds, it holds no line break."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def parsed(kind: Kind, text: bytes) -> dict[str, Any] | str:
    """A record as its columns are typed; or, in words, why the line holds none.

    Columns that are not of the form are left out: a later version may have added them.
    """
    try:
        raw = json.loads(text)
    except ValueError:
        return "no JSON"
    if not isinstance(raw, dict):
        return "no JSON object"
    record: dict[str, Any] = {}
    for field in SCHEMAS[kind]:
        value = raw.get(field.name)
        if value is None and not field.nullable:
            return f"no {field.name}"
        try:
            record[field.name] = None if value is None else _typed(field, value)
        except (TypeError, ValueError, OverflowError):
            return f"{field.name} is {str(value)[:40]!r}"
    if record.get("event", "click") not in ("impression", "click"):
        return f"event is {record['event'][:40]!r}"
    return record


def _typed(field: pa.Field, value: Any) -> Any:
    if field.type == _TIME:
        moment = datetime.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment
    if field.type == pa.int32():
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise ValueError("no count")
        return value
    if field.type == pa.float64():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        return float(value)
    wanted = {pa.string(): str, pa.bool_(): bool}.get(field.type, list)
    if not isinstance(value, wanted) or (isinstance(value, list) and not all(isinstance(one, str) for one in value)):
        raise ValueError("another type")
    return value
