"""Who may ask, how often, how much at once; and what is counted and logged of it."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipadapt.errors import UsageError
from clipadapt.service.rates import Rates
from clipadapt.service.settings import Limits, Settings


def test_one_client_asks_so_often_and_no_more(client_of):
    client = client_of(Settings(rate="3/hour"))
    statuses = [client.get("/facets").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = client.get("/facets")
    assert refused.json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(refused.headers["retry-after"]) <= 3_600
    assert {client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")} == {200}


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(UsageError, match="write a number and a time"):
        Rates("often")


def test_a_service_answers_to_its_own_names_alone(client_of):
    client = client_of(Settings(hosts=("127.0.0.1", "[::1]")))
    assert client.get("/info").status_code == 200
    assert client.get("/info", headers={"Host": "[::1]:8000"}).status_code == 200
    refused = client.get("/info", headers={"Host": "rebound.example:8000"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unknown_host")


def test_a_full_queue_is_answered_at_once(client_of, monkeypatch):
    client = client_of(Settings(Limits(threads=1, waiting=1)))
    serving = client.app.state.serving
    entered, go_on = threading.Event(), threading.Event()
    count = serving.current.facets

    def slow(conditions):
        entered.set()
        assert go_on.wait(20)
        return count(conditions)

    monkeypatch.setattr(serving.current, "facets", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.get, "/facets")
        assert entered.wait(20)
        second = pool.submit(client.get, "/facets")
        while serving.pending < 2:
            pass
        refused = client.get("/facets")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
        assert refused.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200, "the event loop is free"
        go_on.set()
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert serving.pending == 0
    assert client.get("/facets").status_code == 200


def test_only_so_many_pictures_arrive_at_once(client_of, monkeypatch):
    client = client_of(Settings(Limits(uploads=1, query_bytes=1_000)))
    serving = client.app.state.serving
    entered, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> object:
        entered.set()
        assert go_on.wait(20)
        raise UsageError("no matter")

    monkeypatch.setattr(serving.current, "search", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/search", files={"image": bytes(5_000)})
        assert entered.wait(20)
        assert client.post("/search", files={"image": bytes(5_000)}).status_code == 429
        assert client.get("/facets").status_code == 200
        go_on.set()
        assert first.result().status_code == 400
    assert client.post("/search", files={"image": bytes(5_000)}).status_code == 400


def test_work_that_takes_too_long_is_given_up(client_of, monkeypatch):
    client = client_of(Settings(Limits(work_seconds=0.05)))
    go_on = threading.Event()
    monkeypatch.setattr(client.app.state.serving.current, "facets", lambda _: go_on.wait(20))
    answer = client.get("/facets")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "too_slow")
    go_on.set()


def test_requests_are_counted_by_route(client):
    client.post("/search", json={"text": "red"})
    client.post("/search", json={})
    client.get("/items/0003")
    client.get("/items/0004")
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert 'clipadapt_requests_total{method="POST",route="/search",status="200"} 1.0' in text
    assert 'clipadapt_requests_total{method="POST",route="/search",status="400"} 1.0' in text
    assert 'clipadapt_requests_total{method="GET",route="/items/{item:path}",status="200"} 2.0' in text
    assert 'route="other",status="404"} 1.0' in text
    assert 'clipadapt_release_serving{arm="current",release="000001"} 1.0' in text
    assert "nowhere" not in text


def test_a_line_of_log_holds_no_query(client, caplog):
    with caplog.at_level(logging.INFO, "clipadapt.service"):
        answer = client.post("/search", json={"text": "a very private wish", "user": "person 17"})
        client.get("/facets", params={"where": "Pattern=Solid"})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "clipadapt.service.access"]
    assert [line["route"] for line in lines] == ["/search", "/facets"]
    assert lines[0]["request_id"] == answer.headers["x-request-id"]
    assert lines[0]["status"] == 200
    assert not [word for word in ("private", "person", "Solid") if word in caplog.text]
