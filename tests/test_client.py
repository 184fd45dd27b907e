"""The client against the real app, and against a service that is busy or away."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from data_factory import write_catalogue
from fastapi.testclient import TestClient
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.client import Client, Part
from clipadapt.errors import ServiceError, UsageError
from clipadapt.inputs import resolve
from clipadapt.search.index import Index
from clipadapt.service.app import create_app
from clipadapt.service.batching import BatchedEncoder
from clipadapt.service.collection import Collection
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic
from clipadapt.towers.load import load


class Bridge(httpx.BaseTransport):
    """Requests go to an app in this process; TestClient has an httpx of its own."""

    def __init__(self, app: TestClient) -> None:
        self.app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url, headers = str(request.url), dict(request.headers)
        found = self.app.request(request.method, url, headers=headers, content=request.read())
        return httpx.Response(found.status_code, headers=dict(found.headers), content=found.content)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("client")
    inputs = resolve(source=str(write_catalogue(root / "shop")))
    encoder = load(f"local-dir:{write_open_clip(root / 'tiny', OPEN_CLIP['clip'])}")
    Index.build(inputs.items("train"), root / "index", encoder=encoder)
    batched = BatchedEncoder(encoder, gather_ms=3.0, remembered=100)
    index = Index.open(root / "index", encoder=batched)
    collection = Collection("000001", index, batched, "torch", ItemPictures.of(inputs, index.ids()))
    serving = Serving(Settings(), "shop", collection, traffic=Traffic.open(log=root / "log"))
    app = TestClient(create_app(serving), base_url="http://127.0.0.1")
    with app, Client("http://127.0.0.1", retries=0, transport=Bridge(app)) as made:
        yield made


def test_it_speaks_for_every_route(client: Client, tmp_path: Path):
    answer = client.search("a red shirt", where=["baseColour in (Red, Blue)"], k=3)
    assert 0 < len(answer.hits) <= 3
    assert {hit.attributes["baseColour"] for hit in answer.hits} <= {"Red", "Blue"}
    hit = answer.hits[0]
    assert client.item(hit.id).product == hit.product
    picture = client.picture(hit.id, 64)
    assert Image.open(io.BytesIO(picture)).format == "JPEG"
    file = tmp_path / "picture.jpg"
    file.write_bytes(picture)
    assert client.search(image=file, k=2).hits == client.search(image=picture, k=2).hits
    weighted = client.search(parts=[Part(text="red"), Part(item=hit.id, weight=-0.5)], k=2)
    assert hit.id not in [one.id for one in weighted.hits]
    both = client.search("blue", image=picture, text_weight=1.0, k=2)
    assert [one.id for one in both.hits] == [one.id for one in client.search("blue", k=2).hits]
    assert client.facets(["Pattern is known"])["items"] > 0
    assert np.linalg.norm(client.embed(["a", "b"]), axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert len(client.embed(image=picture)) == 1
    assert client.events(answer.query_id, impressions={hit.id: 1}, clicks={hit.id: 1}) == 2
    assert client.info()["name"] == "shop"
    assert client.ready()


def test_a_refusal_is_an_error_with_code_and_id(client: Client):
    with pytest.raises(ServiceError, match="no item 'nobody'") as caught:
        client.search(item="nobody")
    assert (caught.value.status, caught.value.code) == (404, "unknown_item")
    assert caught.value.request_id
    with pytest.raises(ServiceError, match="no_tags"):
        client.tags("0003")
    with pytest.raises(UsageError, match="cannot be read"):
        client.search(image="nowhere.jpg")


def against(*answers: httpx.Response | Exception, retries: int = 3) -> tuple[Client, list[httpx.Request], list[float]]:
    """A client of a service that gives these answers, what it sent, and how long it waited."""
    sent: list[httpx.Request] = []
    waited: list[float] = []
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    transport = httpx.MockTransport(answer)
    return (
        Client("http://shop", token="secret", retries=retries, transport=transport, sleep=waited.append),
        sent,
        waited,
    )


GOOD = {"items": 3, "facets": []}
BUSY = {"error": {"code": "busy", "message": "too many", "request_id": "r"}}


def test_a_busy_service_is_asked_again_after_the_time_it_names():
    away = httpx.ConnectError("refused")
    client, sent, waited = against(
        httpx.Response(429, json=BUSY, headers={"Retry-After": "2"}), httpx.Response(503, json=BUSY), away,
        httpx.Response(200, json=GOOD),
    )  # fmt: skip
    assert client.facets() == GOOD
    assert len(sent) == 4
    assert waited[0] == 2.0
    assert 0.1 <= waited[1] <= 0.2
    assert 0.2 <= waited[2] <= 0.4
    assert sent[0].headers["authorization"] == "Bearer secret"


def test_it_gives_up_in_the_end():
    client, sent, _ = against(*[httpx.Response(503, json=BUSY)] * 3, retries=2)
    with pytest.raises(ServiceError, match="503 busy: too many"):
        client.facets()
    assert len(sent) == 3
    client, _, _ = against(httpx.ReadTimeout("slow"), retries=0)
    with pytest.raises(ServiceError, match="is the service running"):
        client.facets()


@pytest.mark.parametrize(
    ("first", "attempts"),
    [
        (httpx.ConnectError("refused"), 2), (httpx.Response(429, json=BUSY), 2), (httpx.ReadTimeout("slow"), 1),
        (httpx.Response(503, json=BUSY), 1), (httpx.Response(500, text="<html>"), 1),
    ],
)  # fmt: skip
def test_events_are_sent_twice_only_when_they_cannot_have_arrived(first: httpx.Response | Exception, attempts: int):
    client, sent, _ = against(first, httpx.Response(202, json={"accepted": 1, "refused": 0}))
    if attempts == 1:
        with pytest.raises(ServiceError):
            client.events("q", clicks={"a": 1})
    else:
        assert client.events("q", clicks={"a": 1}) == 1
    assert len(sent) == attempts
