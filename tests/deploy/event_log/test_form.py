"""One line each of events and answers."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.deploy.event_log.form import SCHEMAS, line, parsed, stamp

EVENT = {
    "ts": "2030-01-02T03:04:05.678Z", "user": None, "release": "000004", "arm": "current", "query_id": "q",
    "item": "1163", "position": 1, "event": "click",
}  # fmt: skip
MISSING = object()


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_text_holds_a_record_is_one_line_and_comes_back(item, query_id):
    record = EVENT | {"item": item, "query_id": query_id}
    text = line(record)
    assert text.count(b"\n") == 1 and len(text.splitlines()) == 1
    back = parsed("events", text)
    assert back == record | {"ts": datetime.datetime(2030, 1, 2, 3, 4, 5, 678_000, datetime.UTC)}


def test_a_moment_of_any_zone_is_written_in_utc():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert stamp(datetime.datetime(2030, 1, 2, 3, 4, 5, 678_999, zone)) == "2030-01-02T01:04:05.678Z"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"release": MISSING}, "no release"),
        ({"ts": "yesterday"}, "ts is 'yesterday'"),
        ({"ts": "2030-01-02T03:04:05"}, "ts is '2030-01-02T03:04:05'"),
        ({"ts": 5}, "ts is '5'"),
        ({"position": "1"}, "position is '1'"),
        ({"position": True}, "position is 'True'"),
        ({"position": -1}, "position is '-1'"),
        ({"position": 2**40}, f"position is '{2**40}'"),
        ({"event": "purchase"}, "event is 'purchase'"),
        ({"user": 17}, "user is '17'"),
    ],
)
def test_a_line_that_is_no_record_says_why(change, fault):
    record = {name: value for name, value in (EVENT | change).items() if value is not MISSING}
    assert parsed("events", line(record)) == fault


@pytest.mark.parametrize(
    ("text", "fault"), [(b'{"ts": "2030', "no JSON"), (b"[]", "no JSON object"), (b"\xff", "no JSON")]
)
def test_a_line_that_is_no_object(text, fault):
    assert parsed("events", text) == fault


def test_a_column_of_a_later_version_is_passed_over():
    back = parsed("events", line(EVENT | {"basket": 3}))
    assert isinstance(back, dict) and set(back) == set(SCHEMAS["events"].names)
