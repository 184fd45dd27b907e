"""Rows of a shadow, its gate and its page."""

import json
from typing import Any

import numpy as np
import pytest

from clipadapt.deploy.shadow.measure import Shadow, measure
from clipadapt.deploy.shadow.pairs import Answer, Pair, Pairs
from clipadapt.deploy.shadow.report import as_json, as_page, pictured, sentence
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.statistics.rows import Row, select

GATE = Gate.load("eval/shadow_gate.yaml")


def pair(number: int, candidate: str | Answer = "abcd", current: str | Answer = "abcd", **change: Any) -> Pair:
    made = current if isinstance(current, Answer) else Answer(tuple(current), 10.0)
    other = candidate if isinstance(candidate, Answer) else Answer(tuple(candidate), 12.0)
    given: dict[str, Any] = {"query_id": f"q{number}", "user": f"u{number}", "kind": "text", "filtered": False}
    return Pair(current=made, candidate=other, **(given | change))


def shadow(pairs: list[Pair], **given) -> Shadow:
    return measure(Pairs(pairs, ("000004", "000005"), []), **given)


def row(found: Shadow, metric: str, task: str = "shadow") -> Row:
    (one,) = select(found.rows, task=task, metric=metric)
    return one


def width(row: Row) -> float:
    assert row.low is not None and row.high is not None
    return row.high - row.low


def test_the_rows_are_those_that_a_hand_counts():
    pairs = [pair(0), pair(1, candidate="badx"), pair(2, candidate="wxyz"), pair(3, candidate="dcba")]
    found = shadow(pairs, k=4)
    assert row(found, "overlap").mean == pytest.approx((1 + 3 / 4 + 0 + 1) / 4)
    assert row(found, "same_first").mean == pytest.approx(1 / 4)
    assert row(found, "failed").mean == 0 and row(found, "latency_ratio").mean == pytest.approx(1.2)
    assert row(shadow(pairs, k=1), "overlap").mean == pytest.approx(1 / 4)
    assert [one.pair.query_id for one in found.moved] == ["q2", "q1", "q3"], "what did not move is not shown"
    assert found.percentiles == {"000004": (10.0, 10.0), "000005": (12.0, 12.0)}
    one = row(found, "overlap")
    assert (one.n, one.products, one.system) == (4, 4, "000005") and one.low is not None and one.low < one.mean


def test_a_query_without_an_answer_counts_as_failed_and_nowhere_else():
    broken = pair(1, candidate=Answer((), None, "TimeoutError"))
    found = shadow([pair(0), broken, pair(2), pair(3)])
    assert row(found, "failed").mean == 0.25 and row(found, "failed").n == 4
    assert row(found, "overlap").mean == 1 and row(found, "overlap").n == row(found, "latency_ratio").n == 3
    assert found.moved == ()


def test_clicked_items_that_the_candidate_keeps():
    pairs = [pair(0, clicked=frozenset("ab")), pair(1, candidate="axyz", clicked=frozenset("b")), pair(2)]
    kept = row(shadow(pairs, k=4), "kept_clicks")
    assert (kept.mean, kept.n, kept.products) == (pytest.approx(2 / 3), 3, 2)
    assert not select(shadow([pair(0), pair(1)]).rows, metric="kept_clicks")


def test_a_user_with_many_queries_is_one_user():
    alone = [pair(n, candidate="abcd" if n % 2 else "wxyz", user=None) for n in range(200)]
    heavy = [pair(n, candidate="abcd" if n % 2 else "wxyz", user=f"u{n % 2}") for n in range(200)]
    wide, narrow = row(shadow(heavy), "overlap"), row(shadow(alone), "overlap")
    assert (narrow.products, wide.products) == (200, 2) and wide.mean == narrow.mean
    assert width(wide) > 4 * width(narrow)


def test_the_interval_of_the_latency_covers_the_true_ratio():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        times = rng.gamma(4, 3, (80, 2)) * rng.lognormal(0, 0.3, (80, 1)) * [1, 1.3]
        pairs = [
            pair(n, current=Answer(("a",), one), candidate=Answer(("a",), other), user=f"u{n // 2}")
            for n, (one, other) in enumerate(times.tolist())
        ]
        found = row(shadow(pairs), "latency_ratio")
        covered += found.low is not None and found.high is not None and found.low <= 1.3 <= found.high
    assert covered >= 52


def test_segments_are_kinds_and_filters_where_there_is_more_than_one():
    pairs = [pair(0), pair(1, kind="picture", candidate="wxyz"), pair(2, filtered=True)]
    found = shadow(pairs)
    assert {one.segment for one in found.rows} == {None, "kind=picture", "kind=text", "filtered=no", "filtered=yes"}
    assert row(found, "overlap", "shadow@kind=picture").mean == 0
    assert row(found, "overlap", "shadow@kind=picture").low is None, "one query says nothing of spread"
    assert {one.segment for one in shadow([pair(0), pair(1)]).rows} == {None}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, []),
        ({"candidate": Answer((), None, "no")}, ["failed"]),
        ({"candidate": Answer(tuple("abcd"), 40.0)}, ["latency_ratio"]),
        ({"candidate": Answer(tuple("wxyz"), 10.0)}, ["overlap"]),
        ({"clicked": frozenset("z")}, ["kept_clicks"]),
    ],
)
def test_the_shipped_gate(change, failed):
    every = 20 if failed == ["failed"] else 1  # of these queries; of none, nothing else could be measured
    pairs = [pair(n, **(change if n % every == 0 else {})) for n in range(400)]
    outcomes = judge(GATE, shadow(pairs).rows)
    assert [one.condition.metric for one in outcomes if not one.passed] == failed


def test_the_page_shows_what_moved_and_escapes_what_people_typed():
    typed = json.dumps({"text": "<b>skirt</b>", "parts": [{"item": "7", "weight": -0.3}], "where": ["Pattern=Striped"]})
    found = shadow([pair(0, candidate="wxya", query=typed), pair(1, candidate="", query="no JSON"), pair(2)])
    outcomes = judge(GATE, found.rows)
    page = as_page(found, outcomes, {"a": "AAAA"})  # in both answers of the first query, and one of the second
    assert "&lt;b&gt;skirt&lt;/b&gt; -0.3 7 [Pattern=Striped]" in page and "<b>skirt" not in page
    assert page.count("base64,AAAA") == 3 and "nothing</p>" in page and "no JSON" in page
    assert pictured(found) == set("abcdwxy") | {"a"} and "000005 in the shadow of 000004" in page
    document = json.loads(as_json(found, outcomes))
    assert document["passed"] is False and document["sentence"] == sentence(found, outcomes)
    assert [Row.from_json(one) for one in document["rows"]] == list(found.rows)
    assert document["moved"][0]["query_id"] == "q1" and "q2" not in str(document["moved"])
