"""Both answers to a query: that of the current release, and the candidate's to the same one.

    pairs, notes = mirrored(read("logs", "answers").table)

Answers without a mirrored one are passed over: only a share of the queries is mirrored. Nothing here compares.
"""

import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from clipadapt.errors import UsageError

pc: Any = pyarrow.compute  # its functions are made on import


class Answer(NamedTuple):
    """What one release answered."""

    items: tuple[str, ...]
    """Ids, best first."""
    took_ms: float | None
    error: str | None = None
    """Why there is no answer."""


class Pair(NamedTuple):
    """One query."""

    query_id: str
    user: str | None
    """Hashed; null: each such query counts as a user of its own."""
    kind: str
    """text, picture, item or mixed."""
    filtered: bool
    current: Answer
    candidate: Answer
    query: str | None = None
    """As JSON, where it was kept."""
    clicked: frozenset[str] = frozenset()
    """Items of the current release's answer that were clicked."""


class Pairs(NamedTuple):
    """All that is compared."""

    pairs: list[Pair]
    releases: tuple[str, str]
    """The current one and the candidate."""
    notes: list[str]


def mirrored(
    answers: pa.Table,
    events: pa.Table | None = None,
    *,
    since: datetime.date | None = None,
    candidate: str | None = None,
) -> Pairs:
    """The pairs of a service's log.

    Args:
        answers: of the log.
        events: of the log, for what was clicked; null: none were kept.
        since: first day, in UTC.
        candidate: release, where several were mirrored to.

    Raises:
        UsageError: no query was mirrored, or to several releases of which none was named.
    """
    if since is not None:
        start = datetime.datetime(since.year, since.month, since.day, tzinfo=datetime.UTC)
        answers = answers.filter(pc.greater_equal(answers.column("ts"), pa.scalar(start, pa.timestamp("ms", tz="UTC"))))
    shadows = answers.filter(answers.column("mirrored"))
    there = sorted(set(shadows.column("release").to_pylist()))
    if candidate is None and len(there) > 1:
        raise UsageError(f"queries were mirrored to {', '.join(there)}; name one with --candidate")
    chosen = candidate or next(iter(there), "")
    if chosen not in there:
        of = f" to {candidate}; there are {', '.join(there) or 'none'}" if candidate else ""
        raise UsageError(f"no query was mirrored{of}; serve with a candidate and a flag of mode shadow")
    second = {one["query_id"]: one for one in shadows.to_pylist() if one["release"] == chosen}
    wanted = pa.array(list(second), pa.string())
    first = answers.filter(pc.invert(answers.column("mirrored")))
    first = first.filter(pc.is_in(first.column("query_id"), wanted))
    clicked = _clicked(events, wanted) if events is not None else {}
    pairs = [_pair(one, second[one["query_id"]], clicked) for one in first.to_pylist()]
    notes = []
    if lost := len(second) - len(pairs):
        notes.append(f"{lost:,} mirrored answer(s) left out: the answer that was given is not in the log")
    releases = sorted({one["release"] for one in first.to_pylist()})
    if len(releases) > 1:
        notes.append(f"the current release changed meanwhile: {', '.join(releases)}; see --since")
    if not pairs:
        raise UsageError("no answer beside a mirrored one is in the log; see --since")
    return Pairs(pairs, (" and ".join(releases), chosen), notes)


def _pair(first: dict[str, Any], second: dict[str, Any], clicked: dict[str, set[str]]) -> Pair:
    return Pair(
        first["query_id"], first["user"], first["kind"] or "unknown", bool(first["where"]), _answer(first),
        _answer(second), first["query"], frozenset(clicked.get(first["query_id"], ())),
    )  # fmt: skip


def _answer(record: dict[str, Any]) -> Answer:
    return Answer(tuple(record["items"]), record["took_ms"], record["error"])


def _clicked(events: pa.Table, wanted: pa.Array) -> dict[str, set[str]]:
    mask = pc.and_(pc.equal(events.column("event"), "click"), pc.is_in(events.column("query_id"), wanted))
    found: dict[str, set[str]] = {}
    for one in events.filter(mask).select(["query_id", "item"]).to_pylist():
        found.setdefault(one["query_id"], set()).add(one["item"])
    return found
