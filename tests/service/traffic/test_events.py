"""POST /events over HTTP."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from clipadapt.deploy.event_log.read import read
from clipadapt.service.traffic import Traffic, events_router
from clipadapt.service.traffic.events import MOST_EVENTS


async def post(traffic: Traffic, body: object) -> httpx.Response:
    app = FastAPI()
    app.include_router(events_router(traffic))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post("/events", json=body)


def ask(traffic: Traffic, body: object) -> httpx.Response:
    import asyncio

    return asyncio.run(post(traffic, body))


@pytest.fixture
def opened(tmp_path: Path):
    traffic = Traffic.open(log=tmp_path)
    route = traffic.route("user 17", None, candidate=False)
    query_id = traffic.record(route, release="000004", items=["1"], took_ms=1.0, kind="text", k=1)
    yield traffic, query_id
    traffic.close()


def one(query_id: str, **change: object) -> dict:
    return {"query_id": query_id, "item": "1", "position": 1, "event": "click"} | change


def test_events_are_kept_and_those_of_no_query_refused(opened, tmp_path):
    traffic, query_id = opened
    answer = ask(traffic, {"events": [one(query_id), one("made-up"), one(query_id, event="impression")], "user": "x"})
    assert answer.status_code == 202 and answer.json() == {"accepted": 2, "refused": 1}
    traffic.close()
    assert read(tmp_path, "events").table.column("event").to_pylist() == ["click", "impression"]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"events": []}, {"events": [{}]}, {"events": [one("q", event="purchase")]},
        {"events": [one("q", position=0)]}, {"events": [one("q", position=10**9)]},
        {"events": [one("q", item="x" * 600)]},
        {"events": [one("q", item="")]}, {"events": [one("q" * 600)]}, {"events": [one("q", more=1)]},
        {"events": [one("q")] * (MOST_EVENTS + 1)}, {"events": [one("q")], "user": "x" * 600},
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(opened, body):
    assert ask(opened[0], body).status_code == 422


def test_a_service_without_a_log_says_so():
    answer = ask(Traffic.open(), {"events": [one("q")]})
    assert answer.status_code == 404 and answer.json()["detail"]["code"] == "no_event_log"


def test_a_full_log_asks_for_another_try(opened):
    traffic, query_id = opened
    traffic._writer._most_waiting = 0
    answer = ask(traffic, {"events": [one(query_id)]})
    assert (
        answer.status_code == 503 and answer.headers["retry-after"] and "1 of 1" in answer.json()["detail"]["message"]
    )
    assert any("were lost" in fault for fault in traffic.faults()) and traffic.counts()["dropped"] == 1
