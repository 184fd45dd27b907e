"""Queries asked again of two releases, as if the candidate had stood in the shadow when they were first asked.

    bodies = logged(Path("logs"))                              # kept with clipadapt serve --log-queries
    pairs = replay(bodies, current, candidate)

A query with an uploaded picture cannot be asked again, for pictures are not kept; nor one whose words were not. Both
releases answer every query one after the other, in turn first, so that neither profits from what the other warmed up.
Nothing here compares.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from clipadapt.deploy.event_log.read import read
from clipadapt.deploy.shadow.pairs import Answer, Pair, Pairs
from clipadapt.errors import ClipadaptError, UsageError
from clipadapt.service.collection import Collection
from clipadapt.service.problems import Problem
from clipadapt.service.schema import SearchBody
from clipadapt.service.uploads import Uploads

PICTURE = "picture"
"""Key of a kept query that says that a picture came with it."""


class Logged(NamedTuple):
    """A query as it was asked."""

    body: SearchBody
    text: str
    """Its JSON."""
    user: str | None
    kind: str


class Queries(NamedTuple):
    """What can be asked again."""

    queries: list[Logged]
    notes: list[str]


def logged(path: Path) -> Queries:
    """Of a service's log, or of a file with one body of POST /search a line.

    Raises:
        UsageError: nothing in it can be asked again.
    """
    records = _of_file(path) if path.is_file() else _of_log(path)
    queries, notes, broken, pictures = [], [], 0, 0
    for text, user, kind in records:
        if text is None or _had_picture(text):
            pictures += 1
            continue
        try:
            queries.append(Logged(SearchBody.model_validate_json(text), text, user, kind))
        except ValidationError:
            broken += 1
    if pictures:
        notes.append(f"{pictures:,} query(s) left out: a picture was uploaded, or their words were not kept")
    if broken:
        notes.append(f"{broken:,} query(s) left out: no body of POST /search")
    if not queries:
        raise UsageError(
            f"{path}: no query that can be asked again; serve with --log-queries, or write one body of POST /search a "
            "line into a file"
        )
    return Queries(queries, notes)


def replay(queries: Queries, current: Collection, candidate: Collection, uploads: Uploads) -> Pairs:
    """Asks both."""
    pairs = []
    for number, query in enumerate(queries.queries):
        arms = (current, candidate) if number % 2 == 0 else (candidate, current)
        answers = {id(arm): _answer(arm, query.body, uploads) for arm in arms}
        known = (f"replayed-{number}", query.user, query.kind, bool(query.body.where))
        pairs.append(Pair(*known, answers[id(current)], answers[id(candidate)], query.text))
    failed = sum(pair.current.error is not None for pair in pairs)
    notes = [*queries.notes]
    if failed:
        notes.append(f"{failed:,} query(s) left out: the current release gives no answer to them either")
    kept = [pair for pair in pairs if pair.current.error is None]
    if not kept:
        raise UsageError(f"the current release answers none of the queries: {pairs[0].current.error}")
    return Pairs(kept, (current.name, candidate.name), notes)


def _answer(collection: Collection, body: SearchBody, uploads: Uploads) -> Answer:
    started = time.perf_counter()
    try:
        found = collection.search(body, None, uploads)
    except (ClipadaptError, Problem) as error:
        return Answer((), None, str(error.detail if isinstance(error, Problem) else error))
    took = 1000 * (time.perf_counter() - started)
    return Answer(tuple(hit.id for hit in found.hits), took)


def _of_log(path: Path) -> Iterator[tuple[str | None, str | None, str]]:
    for one in read(path, "answers").table.select(["query", "user", "kind", "mirrored"]).to_pylist():
        if not one["mirrored"]:
            yield one["query"], one["user"], one["kind"] or "unknown"


def _of_file(path: Path) -> Iterator[tuple[str | None, str | None, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as queries: {error}") from error
    for text in lines:
        if text.strip():
            yield text, None, _kind(text)


def _had_picture(text: str) -> bool:
    """Whether a picture came with the query: without it, it would be another one."""
    return bool(_body(text).get(PICTURE))


def _body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _kind(text: str) -> str:
    body = _body(text)
    given = [key for key in ("text", "item", "parts") if body.get(key)]
    return given[0] if len(given) == 1 and given != ["parts"] else "mixed"
