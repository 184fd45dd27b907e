"""Searches whose words are read: what the answer says of them, the same but, and words as they stand."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from clipadapt.deploy.event_log.read import read
from clipadapt.search.typed import Known
from clipadapt.service.app import create_app
from clipadapt.service.collection import Collection
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic


@pytest.fixture
def reading(collection_of, client_of):
    """A client of a service that reads what is typed."""
    plain = collection_of()
    return client_of(collection=Collection("000001", plain.index, plain.encoder, "torch", known=Known()))


@pytest.fixture
def colours(index) -> list[str]:
    """Two colours of the shop, the one of item 0003 last."""
    own = str(index.item("0003").attributes["baseColour"])
    other = next(colour for colour in index.values("baseColour") if colour != own)
    return [str(other), own]


def test_an_answer_says_what_was_understood(reading, colours):
    text = f"shirt, {colours[0]} or {colours[1]}, not striped"
    answer = reading.post("/search", json={"text": text, "k": 5}).json()
    (one,) = answer["understood"]
    assert one["explained"] == f"shirt · baseColour: {colours[0]} or {colours[1]} · not Pattern: Striped"
    assert [part["kind"] for part in one["parts"]] == ["words", "wanted", "unwanted"]
    without = [part["without"] for part in one["parts"]]
    assert without[1:] == ["shirt not striped", f"shirt, {colours[0]} or {colours[1]}"]
    assert answer["hits"][0]["attributes"].get("Pattern") != "Striped"
    plain = reading.post("/search", json={"text": "shirt, not striped", "plain": True}).json()
    assert plain["understood"] == []
    assert reading.post("/search", json={"text": f"not {colours[0]}"}).status_code == 400


def test_the_same_but(reading, colours):
    answer = reading.post("/search", json={"parts": [{"item": "0003", "but": colours[0]}], "k": 3}).json()
    assert answer["understood"][0]["explained"] == f"baseColour: {colours[0]}"
    assert answer["hits"][0]["attributes"]["baseColour"] == colours[0]
    assert all(hit["id"] != "0003" for hit in answer["hits"])
    both = {"parts": [{"item": "0003", "but": colours[0]}], "text": "shirt"}
    assert reading.post("/search", json=both).status_code == 400
    assert reading.post("/search", json={"parts": [{"text": "a", "but": "red"}]}).status_code == 422


def test_a_service_that_reads_nothing_searches_for_words_as_they_stand(client):
    answer = client.post("/search", json={"text": "shirt, not striped"}).json()
    assert answer["understood"] == []
    assert client.post("/search", json={"parts": [{"item": "0003", "but": "red"}]}).status_code == 400


@pytest.mark.parametrize("keep_queries", [False, True])
def test_the_log_has_what_was_understood_and_no_words(collection_of, colours, tmp_path: Path, keep_queries: bool):
    plain = collection_of()
    reading = Collection("000001", plain.index, plain.encoder, "torch", known=Known())
    traffic = Traffic.open(log=tmp_path / "log", keep_queries=keep_queries)
    app = create_app(Serving(Settings(), "shop", reading, traffic=traffic))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.post("/search", json={"text": f"privatewish {colours[0]} shirt, not striped", "k": 1})
        client.post("/search", json={"text": "privatewish", "k": 1})
    first, second = read(tmp_path / "log", "answers").table.to_pylist()
    assert first["understood"] == [f"baseColour: {colours[0]}", "not Pattern: Striped"]
    assert second["understood"] == []
    assert ("privatewish" in json.dumps([first, second], default=str)) == keep_queries
