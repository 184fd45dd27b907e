"""A shadow comparison as JSON and as a page with the queries that moved most. Nothing here measures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from clipadapt.deploy.pages import render
from clipadapt.deploy.shadow.measure import TASK, Moved, Shadow
from clipadapt.deploy.shadow.pairs import Pair
from clipadapt.evaluation.gate import Outcome
from clipadapt.statistics.rows import SCHEMA_VERSION, Row

NAMES = {
    "overlap": "overlap of the {k} best",
    "rank_biased_overlap": "rank-biased overlap of the {k} best",
    "same_first": "same first result",
    "failed": "queries without an answer",
    "kept_clicks": "clicked items among the {k} best",
    "latency_ratio": "mean time over the current release's",
}
SHOWN = 6
"""Items of an answer on the page."""


def sentence(shadow: Shadow, outcomes: Sequence[Outcome]) -> str:
    """The verdict in words."""
    current, candidate = shadow.releases
    failed = sum(not one.passed for one in outcomes)
    whole = {row.metric: row for row in shadow.rows if row.task == TASK}
    parts = [f"{candidate} answered {whole['failed'].n:,} queries beside {current}"]
    if "overlap" in whole:
        parts.append(f"{100 * whole['overlap'].mean:.0f}% of the {shadow.k} best are the same")
    if "latency_ratio" in whole:
        parts.append(f"it took {whole['latency_ratio'].mean:.2f} times as long")
    verdict = f"{failed} of {len(outcomes)} conditions of the gate do not hold" if failed else "the gate is passed"
    return f"{', '.join(parts)}; {verdict}."


def as_json(shadow: Shadow, outcomes: Sequence[Outcome]) -> str:
    """The whole comparison; rows as results.json has them."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "sentence": sentence(shadow, outcomes),
        "passed": all(one.passed for one in outcomes),
        "current": shadow.releases[0],
        "candidate": shadow.releases[1],
        "rows": [row.to_json() for row in shadow.rows],
        "milliseconds": {name: {"p50": p50, "p99": p99} for name, (p50, p99) in shadow.percentiles.items()},
        "gate": [{"passed": one.passed, "reason": one.reason} for one in outcomes],
        "moved": [_moved(one) for one in shadow.moved],
        "notes": list(shadow.notes),
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_page(shadow: Shadow, outcomes: Sequence[Outcome], pictures: Mapping[str, str]) -> str:
    """A self-contained page.

    Args:
        pictures: item -> a JPEG in base64, of those that may be shown.
    """
    return render(
        "shadow/page.html.jinja",
        shadow=shadow, outcomes=outcomes, sentence=sentence(shadow, outcomes), pictures=pictures, figure=figure,
        name=name, words=words, shown=SHOWN,
    )  # fmt: skip


def name(row: Row) -> str:
    """What a row measures, in words."""
    return NAMES[row.metric].format(k=row.k)


def figure(row: Row, value: float | None) -> str:
    """Percent with one decimal; a ratio of times as such."""
    if value is None:
        return "–"
    return f"{value:.2f}" if row.metric == "latency_ratio" else f"{100 * value:.1f}%"


def words(pair: Pair) -> str:
    """What was searched for, where that was kept."""
    if pair.query is None:
        return f"{pair.kind} query {pair.query_id[:12]}"
    try:
        body: Any = json.loads(pair.query)
    except ValueError:
        return pair.query
    texts = [str(body[key]) for key in ("text", "item") if body.get(key)]
    weighted = [f"{one.get('weight', 1):+g} {one.get('text') or one.get('item')}" for one in body.get("parts") or ()]
    conditions = [f"[{condition}]" for condition in body.get("where") or ()]
    return " ".join([*texts, *weighted, *conditions]) or pair.kind


def pictured(shadow: Shadow) -> set[str]:
    """Items whose pictures the page shows."""
    return {
        item
        for one in shadow.moved
        for answer in (one.pair.current, one.pair.candidate)
        for item in answer.items[:SHOWN]
    }


def _moved(one: Moved) -> dict[str, Any]:
    pair = one.pair
    return {
        "query_id": pair.query_id, "query": words(pair), "rank_biased_overlap": one.agreement,
        "current": list(pair.current.items), "candidate": list(pair.candidate.items),
    }  # fmt: skip
