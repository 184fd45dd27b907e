"""The answers of a service's log -> queries of a reference and of windows, every user in one of them.

    queries = split_queries(read("logs", "answers").table, since=day)
    compare(queries.observed, of="queries", level=0.05)       # what was wished for, filtered by, found
    reference, new = queries.vectors(encode, space)           # of the words, where they were kept; for `measure`

People come back, so a user is in the sample of one of their queries, drawn at random, and their queries of other
samples are left out: the first one instead would fill the reference with those who come often, and find drift where
there is none. Nor does a user bring more queries to a long reference than to a short window, for that would make users
less spread there. Queries without a user are users of their own. Words are compared as they were typed, whatever the
service read them for. Nothing here compares. Measured: eval/benchmarks/drift_queries.py.
"""

import datetime
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from clipadapt import keyed
from clipadapt.deploy.drift.cells import Window, window_of
from clipadapt.deploy.drift.rates import LEAST_UNITS, REFERENCE, Observed
from clipadapt.errors import UsageError
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

DAY = "asked"
"""Column of the vectors' items that says when."""
_NEEDED = ("ts", "user", "query_id", "mirrored", "kind", "where", "understood", "items", "error", "query")


class Queries(NamedTuple):
    """Queries that are compared, in the order of the log."""

    observed: Observed
    days: list[datetime.date]
    words: list[str | None]
    """Of each query that is words alone, where they were kept."""
    notes: tuple[str, ...]

    @property
    def has_words(self) -> bool:
        return any(self.words)

    def vectors(self, encode: Callable[[Sequence[str]], Float[np.ndarray, "t dim"]], space: str) -> list[Vectors]:
        """Of the reference and of what is new; items are called as their words, products are users.

        Args:
            encode: distinct texts -> unit vectors.
            space: what the vectors mean.
        """
        texts = list(dict.fromkeys(words for words in self.words if words))
        made, place = encode(texts), {text: row for row, text in enumerate(texts)}
        parts = []
        for new in (False, True):
            rows = [
                row
                for row, words in enumerate(self.words)
                if words and (self.observed.samples[row] != REFERENCE) == new
            ]
            names = [self.words[row] for row in rows]
            table = pa.table(
                {
                    "id": pa.array(names, pa.string()),
                    "product": pa.array([str(self.observed.units[row]) for row in rows], pa.string()),
                    DAY: pa.array([self.days[row].isoformat() for row in rows], pa.string()),
                }
            )
            vectors = made[[place[name or ""] for name in names]].astype(np.float32).reshape(len(rows), -1)
            parts.append(Vectors(vectors, Items(table, np.zeros(len(table), bool)), space, None))
        return parts


def split_queries(
    answers: pa.Table, *, reference: pa.Table | None = None, since: datetime.date | None = None,
    window: Window = "week", seed: int = 0,
) -> Queries:  # fmt: skip
    """Splits a log, or two.

    Args:
        reference: answers that the others are compared with.
        since: first day of what is new, in UTC; without `reference`, queries of earlier days are it.

    Raises:
        UsageError: neither is named, or nothing is left on one side.
    """
    if reference is None and since is None:
        raise UsageError("queries are compared with those before a day, or with another log; name one of the two")
    start = since or datetime.date.min
    rows = [] if reference is None else [(REFERENCE, one) for one in _records(reference)]
    for one in _records(answers):
        day = one["ts"].date()
        if day >= start:
            rows.append((window_of(day, window), one))
        elif reference is None:
            rows.append((REFERENCE, one))
    users = [one["user"] or f"query {one['query_id']}" for _, one in rows]
    kept = _one_sample_each(users, [sample for sample, _ in rows], seed)
    notes = []
    if left_out := len(rows) - len(kept):
        notes.append(
            f"{left_out:,} query(s) left out: their user is in another sample, or has more than the shortest window has"
        )
    samples, records = [rows[row][0] for row in kept], [rows[row][1] for row in kept]
    if len(set(samples)) < 2 or REFERENCE not in samples:
        raise UsageError(
            f"{samples.count(REFERENCE)} queries in the reference and {len(samples) - samples.count(REFERENCE)} new "
            "ones; name a day between the first and the last of the log"
        )
    values = {
        "kind of query": [_set([one["kind"]]) for one in records],
        "wished for": [frozenset(one["understood"] or ()) for one in records],
        "filtered by": [frozenset(one["where"] or ()) for one in records],
        "answer": [frozenset((_outcome(one),)) for one in records],
    }
    observed = Observed(np.array([users[row] for row in kept], np.str_), np.array(samples, np.str_), values)
    return Queries(observed, [one["ts"].date() for one in records], [_words(one) for one in records], tuple(notes))


def _records(answers: pa.Table) -> list[dict[str, Any]]:
    """Queries as people saw them answered; mirrored answers are of the same ones."""
    return [one for one in answers.select(list(_NEEDED)).to_pylist() if not one["mirrored"]]


def _one_sample_each(users: list[str], samples: list[str], seed: int) -> list[int]:
    """Rows of the sample that each user is in, about as many as the user would have in the smallest sample.

    Samples of so few users that they are not compared, as a day that has begun just now, take nothing from the others.
    Shares and vectors of a user vary less the more queries they are made of: with all that a long reference has, users
    of the reference would be less spread than those of a short window, and would not be exchangeable with them.
    """
    users_of = Counter(sample for sample, _ in set(zip(samples, users, strict=True)))
    sizes = [count for sample, count in Counter(samples).items() if users_of[sample] >= LEAST_UNITS]
    smallest = min(sizes, default=1) / len(samples)
    of_user: dict[str, list[int]] = {}
    for row, user in enumerate(users):
        of_user.setdefault(user, []).append(row)
    kept = []
    for user, rows in of_user.items():
        order = keyed.generator(seed, "queries", user).permutation(rows).tolist() if len(rows) > 1 else rows
        most = max(round(len(rows) * smallest), 1)
        kept += [row for row in order if samples[row] == samples[order[0]]][:most]
    return sorted(kept)


def _set(cells: list[str | None]) -> frozenset[str] | None:
    known = frozenset(cell for cell in cells if cell)
    return known or None


def _outcome(record: dict[str, Any]) -> str:
    if record["error"] is not None:
        return "an error"
    return "items" if record["items"] else "nothing found"


def _words(record: dict[str, Any]) -> str | None:
    try:
        body = json.loads(record["query"] or "null")
    except ValueError:
        return None
    text = body.get("text") if isinstance(body, dict) and record["kind"] == "text" else None
    return text if isinstance(text, str) and text else None
