"""Both answers to a mirrored query."""

import datetime

import pyarrow as pa
import pytest
from event_logs import START, answer, event, mirror, table

from clipadapt.deploy.event_log.form import SCHEMAS
from clipadapt.deploy.shadow.pairs import Pairs, mirrored
from clipadapt.errors import UsageError


def paired(answers: list[dict], events: list[dict] | None = None, **given) -> Pairs:
    made = pa.Table.from_pylist(answers, schema=SCHEMAS["answers"])
    return mirrored(made, table(events) if events is not None else None, **given)


def test_the_answers_of_one_query_id_are_a_pair_whatever_their_order():
    found = paired([mirror("1"), answer("1", where=["Pattern"], query="{}"), answer("2"), mirror("3"), answer("3")])
    one, three = found.pairs
    assert (one.query_id, one.kind, one.filtered, one.query) == ("1", "text", True, "{}")
    assert one.current.items == ("a", "b") and one.candidate.items == ("b",) and not three.filtered
    assert found.releases == ("000004", "000005") and found.notes == []


def test_clicks_are_those_of_the_query():
    clicks = [event("u", "click", query_id="1", item="b"), event("u", "click", query_id="2", item="a")]
    shown = [event("u", query_id="1", item="a")]
    assert paired([answer("1"), mirror("1")], clicks + shown).pairs[0].clicked == {"b"}


def test_a_mirrored_answer_alone_is_counted():
    found = paired([answer("1"), mirror("1"), mirror("2")])
    assert len(found.pairs) == 1 and found.notes[0].startswith("1 mirrored answer(s) left out")


def test_several_releases():
    answers = [
        answer("1"),
        mirror("1"),
        answer("2", release="000003"),
        mirror("2"),
        answer("3"),
        mirror("3", release="000006"),
    ]
    with pytest.raises(UsageError, match="mirrored to 000005, 000006; name one"):
        paired(answers)
    found = paired(answers, candidate="000005")
    assert found.releases == ("000003 and 000004", "000005") and "changed meanwhile" in found.notes[0]
    with pytest.raises(UsageError, match="to 000009; there are 000005, 000006"):
        paired(answers, candidate="000009")


def test_days_and_logs_without_a_pair():
    late = START + datetime.timedelta(days=1)
    answers = [answer("1"), mirror("1"), answer("2", ts=late), mirror("2", ts=late)]
    assert [one.query_id for one in paired(answers, since=late.date()).pairs] == ["2"]
    with pytest.raises(UsageError, match="no query was mirrored; serve with a candidate"):
        paired([answer("1")])
    with pytest.raises(UsageError, match="no answer beside"):
        paired([mirror("1")])
