"""What an app calls: who answers, and what is written down."""

import json

import pytest

from clipadapt.deploy.event_log.read import read
from clipadapt.errors import ConfigError
from clipadapt.service.traffic import Traffic
from clipadapt.service.traffic.flag import Flag

ANSWER = {"release": "000004", "items": ["1163", "20"], "took_ms": 4.1, "kind": "text", "k": 24}


def flag_file(folder, **flag: object):
    path = folder / "flag.yaml"
    path.write_text(json.dumps({"share": 0.5, "salt": "autumn"} | flag))
    return path


def users(flag: Flag, chosen: bool) -> str:
    return next(name for name in map(str, range(100)) if flag.chosen(name) == chosen)


def test_a_split_sends_its_users_to_the_candidate_and_nobody_else(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path))
    chosen, other = (users(Flag(share=0.5, salt="autumn"), side) for side in (True, False))
    assert traffic.route(chosen, None, candidate=True)[:2] == ("candidate", False)
    assert traffic.route(other, None, candidate=True)[:2] == ("current", False)
    assert traffic.route(None, None, candidate=True) == ("current", False, None)
    assert traffic.arm_of(chosen) == "candidate" and traffic.arm_of(other) == traffic.arm_of(None) == "current"
    assert traffic.state() == {"path": str(tmp_path / "flag.yaml"), "share": 0.5, "mode": "split", "error": None}


def test_a_shadow_answers_from_the_current_release_and_mirrors_the_share(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path, mode="shadow"))
    chosen, other = (users(Flag(share=0.5, salt="autumn"), side) for side in (True, False))
    assert traffic.route(chosen, None, candidate=True)[:2] == ("current", True)
    assert traffic.route(other, None, candidate=True)[:2] == ("current", False)
    nobodys = [traffic.route(None, None, candidate=True) for _ in range(400)]
    assert {route.arm for route in nobodys} == {"current"} and 100 < sum(route.mirror for route in nobodys) < 300


def test_an_arm_that_the_client_asks_for_counts_for_no_user(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path, mode="shadow", share=1))
    assert traffic.route("user 17", "candidate", candidate=True) == ("candidate", False, None)


def test_without_a_candidate_the_current_release_answers_and_it_is_said(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path, share=1))
    assert traffic.route("user 17", None, candidate=False)[:2] == ("current", False)
    assert traffic.faults() == [
        "the flag gives users to a candidate, and none is served; the current release answers them"
    ]
    assert traffic.route("user 17", None, candidate=True).arm == "candidate" and traffic.faults() == []


def test_without_a_flag_and_without_a_log():
    traffic = Traffic.open()
    route = traffic.route("user 17", None, candidate=True)
    query_id = traffic.record(route, **ANSWER)
    assert route.arm == "current" and traffic.state() is None and traffic.faults() == [] and traffic.counts() == {}
    assert not traffic.logs and traffic.record_event(query_id, item="20", position=2, event="click") == "no room"
    traffic.close()


def test_events_are_of_the_release_the_arm_and_the_user_of_their_query(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path, share=1), log=tmp_path / "log")
    route = traffic.route("user 17", None, candidate=True)
    query_id = traffic.record(route, **ANSWER, where=["Pattern"], query={"text": "striped midi skirt"})
    assert traffic.record_event(query_id, item="20", position=2, event="click") == "written"
    assert traffic.record_event("made up", item="20", position=2, event="click") == "unknown query"
    traffic.close()
    (event,) = read(tmp_path / "log", "events").table.drop(["ts"]).to_pylist()
    assert event == {
        "user": route.user, "release": "000004", "arm": "candidate", "query_id": query_id, "item": "20", "position": 2,
        "event": "click",
    }  # fmt: skip
    (answer,) = read(tmp_path / "log", "answers").table.to_pylist()
    assert (answer["where"], answer["items"], answer["took_ms"], answer["query"]) == (
        ["Pattern"],
        ["1163", "20"],
        4.1,
        None,
    )
    everything = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert b"user 17" not in everything and b"midi" not in everything


def test_an_event_after_a_restart_still_finds_its_query(tmp_path):
    before = Traffic.open(log=tmp_path)
    query_id = before.record(before.route("user 17", None, candidate=False), **ANSWER)
    before.close()
    after = Traffic.open(log=tmp_path)
    assert after.record_event(query_id, item="20", position=2, event="impression") == "written"
    after.close()
    assert read(tmp_path, "events").table.column("release").to_pylist() == ["000004"]


def test_a_mirrored_answer_stands_beside_the_one_that_was_given(tmp_path):
    traffic = Traffic.open(flag=flag_file(tmp_path, mode="shadow", share=1), log=tmp_path / "log", keep_queries=True)
    route = traffic.route("user 17", None, candidate=True)
    query_id = traffic.record(route, **ANSWER, query={"text": "skirt"})
    traffic.record_mirror(query_id, release="000005", items=["20"], took_ms=6.0)
    failed = traffic.record(traffic.route(None, None, candidate=True), **ANSWER)
    traffic.record_mirror(failed, release="000005", error="TimeoutError")
    with pytest.raises(ValueError, match="no query id"):
        traffic.record_mirror("made up", release="000005")
    traffic.close()
    answers = read(tmp_path / "log", "answers").table.to_pylist()
    assert [(one["arm"], one["mirrored"], one["release"], one["items"], one["error"]) for one in answers] == [
        ("current", False, "000004", ["1163", "20"], None),
        ("candidate", True, "000005", ["20"], None),
        ("current", False, "000004", ["1163", "20"], None),
        ("candidate", True, "000005", [], "TimeoutError"),
    ]
    assert [one["user"] for one in answers] == [route.user, route.user, None, None]
    assert json.loads(answers[0]["query"]) == {"text": "skirt"}


def test_a_fault_of_the_flag_is_among_the_faults(tmp_path):
    path = flag_file(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        Traffic.open(flag=tmp_path / "none.yaml")
    traffic = Traffic.open(flag=path)
    path.write_text("{share: 200%, salt: autumn}")
    assert traffic._flag is not None
    traffic._flag._next = 0
    assert traffic.route("user 17", None, candidate=True).arm in ("current", "candidate")
    assert len(traffic.faults()) == 1 and "share" in traffic.faults()[0]
    assert (traffic.state() or {})["share"] == 0.5 and "share" in (traffic.state() or {})["error"]
