"""Two arms: who answers whom, and what the event log has of it."""

import json
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clipadapt.deploy.event_log.read import read
from clipadapt.deploy.experiment.exposures import Exposures
from clipadapt.deploy.experiment.readout import measure
from clipadapt.service.app import create_app
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic


@pytest.fixture
def served(collection_of, tmp_path: Path):
    """(flag's text, keep_queries) -> a client of a service with a candidate, and the folder of its log."""
    clients: list[TestClient] = []

    def make(flag: str, keep_queries: bool = False) -> tuple[TestClient, Path]:
        (tmp_path / "flag.yaml").write_text(flag)
        traffic = Traffic.open(tmp_path / "flag.yaml", tmp_path / "log", keep_queries=keep_queries)
        serving = Serving(Settings(), "shop", collection_of("000001"), traffic=traffic)
        serving.replace(collection_of("000002"), "candidate")
        clients.append(TestClient(create_app(serving), base_url="http://127.0.0.1"))
        return clients[-1].__enter__(), tmp_path / "log"

    yield make
    for client in clients:
        client.__exit__(None, None, None)


def test_a_share_of_users_is_answered_by_the_candidate(served):
    client, _ = served("{share: 50%, mode: split, salt: a}")
    arms = {}
    for user in range(40):
        found = client.post("/search", json={"text": "red", "k": 1, "user": f"user {user}"}).json()
        assert found["release"] == {"current": "000001", "candidate": "000002"}[found["arm"]]
        arms[user] = found["arm"]
    assert set(arms.values()) == {"current", "candidate"}
    again = client.post("/search", json={"text": "blue", "k": 1, "user": "user 7"}).json()
    assert again["arm"] == arms[7]
    assert client.post("/search", json={"text": "red", "k": 1}).json()["arm"] == "current"
    asked = client.post("/search", json={"text": "red", "k": 1, "arm": "candidate"}).json()
    assert (asked["arm"], asked["release"]) == ("candidate", "000002")
    info = client.get("/info").json()
    assert info["candidate"]["release"] == "000002"
    assert (info["flag"]["share"], info["flag"]["mode"], info["flag"]["error"]) == (0.5, "split", None)
    assert client.get("/facets", params={"arm": "candidate"}).status_code == 200


def test_a_shadow_is_asked_for_the_log_alone(served):
    client, folder = served("{share: 100%, mode: shadow, salt: a}")
    found = client.post(
        "/search", json={"text": "red", "k": 3, "user": "someone", "where": ["Pattern is known"]}
    ).json()
    assert (found["arm"], found["release"]) == ("current", "000001")
    event = {"query_id": found["query_id"], "item": found["hits"][0]["id"], "position": 1, "event": "click"}
    assert client.post("/events", json={"events": [event]}).json() == {"accepted": 1, "refused": 0}
    deadline = time.monotonic() + 20
    while len(rows := lines(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    answers = {row["mirrored"]: row for row in rows if "items" in row}
    assert answers[False]["items"] == [hit["id"] for hit in found["hits"]] == answers[True]["items"]
    assert (answers[False]["release"], answers[True]["release"]) == ("000001", "000002")
    assert (answers[False]["kind"], answers[False]["k"], answers[False]["where"]) == ("text", 3, ["Pattern"])
    assert answers[False]["query"] is None
    assert "someone" not in json.dumps(rows)
    assert [row["event"] for row in rows if "event" in row] == ["click"]


def test_what_people_clicked_is_read_out_while_the_service_goes_on(served):
    client, folder = served("{share: 50%, mode: split, salt: a}")
    sent, users = 0, {"current": 0, "candidate": 0}
    for user in range(80):
        found = client.post("/search", json={"text": "red", "k": 3, "user": f"user {user}"}).json()
        users[found["arm"]] += 1
        about = {"query_id": found["query_id"], "item": found["hits"][0]["id"], "position": 1}
        kinds = ["impression", *(["click"] if found["arm"] == "candidate" or user % 3 == 0 else [])]
        events = [about | {"event": kind} for kind in kinds]
        assert client.post("/events", json={"events": events}).json()["accepted"] == len(events)
        sent += len(events)
    deadline = time.monotonic() + 20
    while (log := read(folder, "events")).table.num_rows < sent and time.monotonic() < deadline:
        time.sleep(0.05)
    readout = measure(Exposures.of(log.table), share=0.5)
    assert log.faults == {} and readout.notes == () and readout.releases == ("000001", "000002")
    assert readout.users == (users["current"], users["candidate"]) and readout.decisive.candidate.mean == 1
    assert readout.verdict == "better" and readout.mismatch_p is not None and readout.mismatch_p > 0.05


def test_events_are_refused_in_the_services_own_form(served, client):
    other, _ = served("{share: 0, salt: a}")
    unknown = {"query_id": "made up", "item": "0003", "position": 1, "event": "click"}
    assert other.post("/events", json={"events": [unknown]}).json() == {"accepted": 0, "refused": 1}
    error = other.post("/events", json={"events": []})
    assert (error.status_code, error.json()["error"]["code"]) == (422, "invalid_request")
    missing = client.post("/events", json={"events": [unknown]})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_event_log")
    assert missing.json()["error"]["message"].startswith("this service keeps no events")


def test_queries_are_kept_only_where_that_is_said(served):
    client, folder = served("{share: 0, salt: a}", keep_queries=True)
    client.post("/search", json={"text": "red", "k": 1, "user": "someone"})
    deadline = time.monotonic() + 20
    while not (rows := lines(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(rows[0]["query"]) == {"text": "red", "k": 1}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.rglob("*.jsonl")) for line in file.read_text().splitlines()]


def test_an_item_that_the_candidate_alone_has_is_shown(served, monkeypatch):
    client, _ = served("{share: 0, salt: a}")
    serving = client.app.state.serving
    backend = serving.current.index.backend
    monkeypatch.setattr(backend._searcher, "items", backend.items.without(backend.items.live_rows(["0003"])))
    assert not serving.current.index.holds("0003")
    assert client.get("/items/0003").json()["product"] == "p001"
    assert client.get("/items/0003/picture").status_code == 200
    assert client.get("/items/nobody").status_code == 404
