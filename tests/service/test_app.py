import asyncio
import io
import json
import re

import pytest
from PIL import Image

from clipadapt.search.index import Index
from clipadapt.search.query import Item, Query
from clipadapt.service.settings import Limits, Settings


def jpeg(colour: str = "red", size: tuple[int, int] = (64, 48), form: str = "JPEG", mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(content, form)
    return content.getvalue()


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_a_search_means_what_it_means_in_python(client, index: Index):
    body = {"text": "a red shirt", "k": 5, "where": ["baseColour in (Red, Blue)"]}
    answer = client.post("/search", json=body)
    (expected,) = index.search("a red shirt", 5, where=body["where"])
    assert ids(answer) == [hit.id for hit in expected]
    found = answer.json()
    assert found["release"] == "000001"
    assert found["arm"] == "current"
    assert re.fullmatch(r"[\w-]{20,}", found["query_id"])
    first = found["hits"][0]
    assert first["score"] == pytest.approx(expected[0].score, abs=1e-5)
    assert first["attributes"]["baseColour"] in ("Red", "Blue")
    assert first["product"] == expected[0].product
    assert client.get(first["image_url"]).headers["content-type"] == "image/jpeg"


def test_parts_have_weights_and_items_find_others(client, index: Index):
    parts = [{"text": "a red shirt", "weight": 0.7}, {"item": "0003"}, {"text": "striped", "weight": -0.3}]
    query = Query(("a red shirt", Item("0003"), "striped"), weights=(0.7, 1.0, -0.3))
    (expected,) = index.search(query, 6, collapse=False)
    assert ids(client.post("/search", json={"parts": parts, "k": 6, "collapse": False})) == [hit.id for hit in expected]
    (alike,) = index.search(Item("0003"), 3)
    assert ids(client.post("/search", json={"item": "0003", "k": 3})) == [hit.id for hit in alike]
    assert "0003" not in [hit.id for hit in alike]


def test_a_picture_is_searched_alone_and_with_words(client, index: Index):
    picture = Image.open(io.BytesIO(jpeg()))
    (alone,) = index.search(picture, 4)
    assert ids(client.post("/search", files={"image": jpeg()}, data={"query": '{"k": 4}'})) == [hit.id for hit in alone]
    (both,) = index.search(Query(("a blue shirt", picture), text_weight=0.8), 4)
    words = json.dumps({"text": "a blue shirt", "text_weight": 0.8, "k": 4})
    assert ids(client.post("/search", files={"image": jpeg()}, data={"query": words})) == [hit.id for hit in both]
    assert ids(client.post("/search", files={"image": jpeg()})) != [], "a form without JSON is the picture alone"


def test_a_value_that_nobody_has_is_a_warning(client):
    answer = client.post("/search", json={"text": "shirt", "where": ["Pattern=Stripd"]})
    assert ids(answer) == []
    assert "did you mean 'Striped'" in answer.json()["warnings"][0]


def test_an_item_and_its_picture(client):
    item = client.get("/items/0003").json()
    assert item["product"] == "p001"
    assert item["image_url"] == "/items/0003/picture"
    assert item["attributes"]["baseColour"]
    small, large = (client.get("/items/0003/picture", params={"size": size}) for size in (64, 1024))
    assert Image.open(io.BytesIO(small.content)).format == "JPEG"
    assert max(Image.open(io.BytesIO(large.content)).size) == 32, "a picture is never enlarged"
    again = client.get("/items/0003/picture?size=64", headers={"If-None-Match": small.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


def test_an_index_without_pictures_says_so_and_searches_on(client_of, collection_of):
    client = client_of(collection=collection_of(pictures=False))
    assert client.get("/info").json()["pictures"] is False
    answer = client.post("/search", json={"text": "shirt", "k": 2})
    assert [hit["image_url"] for hit in answer.json()["hits"]] == [None, None]
    missing = client.get("/items/0003/picture")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "no_pictures"


def test_facets_count_what_the_other_conditions_leave(client, index: Index):
    found = client.get("/facets", params={"where": ["baseColour=Red", "Pattern=Solid"]}).json()
    assert found["items"] == index.count(["baseColour=Red", "Pattern=Solid"])
    by_name = {facet["name"]: facet for facet in found["facets"]}
    for name, others in (("baseColour", "Pattern=Solid"), ("Pattern", "baseColour=Red")):
        counts = {one["value"]: one["count"] for one in by_name[name]["values"]}
        for value, count in counts.items():
            assert count == index.count([others, f"{name}={value}"])
    assert "id" not in by_name
    assert "product" not in by_name


def test_info_says_what_is_served(client, index: Index):
    info = client.get("/info").json()
    assert info["name"] == "shop"
    assert info["items"] == len(index)
    assert info["image_space"] == index.meta.image_space
    assert info["current"]["release"] == "000001"
    assert info["current"]["encoder"] == "torch"
    assert info["candidate"] is None
    assert {"name": "Pattern", "kind": "text"} in info["columns"]
    assert info["limits"]["k"] == 200


def test_health_and_readiness(client, client_of):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    client.app.state.serving.replace(None)
    assert client.get("/healthz").status_code == 200
    for path in ("/readyz", "/info", "/items/0003"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad_query"),
        ({"text": ""}, 422, "invalid_request"),
        ({"text": "  "}, 400, "bad_query"),
        ({"text": "x" * 1_001}, 422, "invalid_request"),
        ({"text": "shirt", "k": 0}, 422, "invalid_request"),
        ({"text": "shirt", "k": True}, 422, "invalid_request"),
        ({"text": "shirt", "text_weight": "0.5"}, 422, "invalid_request"),
        ({"text": "shirt", "k": 1_000_000}, 422, "invalid_request"),
        ({"text": "shirt", "where": ["Pattern=Solid"] * 10_000}, 413, "too_large"),
        ({"text": "shirt", "where": ["Pattern=Solid"] * 51}, 422, "invalid_request"),
        ({"text": "shirt", "where": ["Patern=Solid"]}, 400, "bad_query"),
        ({"text": "shirt", "where": ["Pattern"]}, 400, "bad_query"),
        ({"item": "nobody"}, 404, "unknown_item"),
        ({"parts": [{"text": "a", "item": "0003"}]}, 422, "invalid_request"),
        ({"parts": [{"text": "a", "weight": -1}]}, 400, "bad_query"),
        ({"parts": [{"text": "a", "weight": 0}]}, 422, "invalid_request"),
        ({"parts": [{"text": "a"}, {"text": "a", "weight": -1}]}, 400, "bad_query"),
        ({"parts": [{"item": "0003", "weight": 0.3}, {"item": "0003", "weight": -0.3}]}, 400, "bad_query"),
        ({"text": "shirt", "arm": "candidate"}, 404, "no_candidate"),
        ({"text": "shirt", "path": "/etc/passwd"}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ],
)
def test_a_bad_search_is_refused_with_a_reason(client, body, status: int, code: str):
    answer = client.post("/search", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert len(error["message"]) > 15
    assert error["request_id"] == answer.headers["x-request-id"]


def test_a_misspelt_column_comes_with_the_one_that_is_meant(client):
    message = client.get("/facets", params={"where": "Patern=Solid"}).json()["error"]["message"]
    assert "did you mean 'Pattern'?" in message


def test_what_is_no_json_or_no_known_type_is_refused(client):
    headers = {"content-type": "application/json"}
    assert client.post("/search", content="{", headers=headers).status_code == 400
    assert client.post("/search", content="[" * 60_000, headers=headers).status_code == 400
    answer = client.post("/search", content="<a/>", headers={"content-type": "text/xml"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_type")
    assert client.post("/search", files={"picture": jpeg()}).status_code == 400
    assert client.post("/search", data={"image": "text"}, files={"query": jpeg()}).status_code == 400
    broken = client.post(
        "/search", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code == 400
    assert client.get("/nowhere").json()["error"]["code"] == "not_found"
    assert client.get("/search").status_code == 405


def test_every_answer_has_an_id_and_says_what_browsers_may_do(client):
    answers = [client.get("/"), client.get("/info"), client.get("/nowhere"), client.post("/search", json={})]
    for answer in answers:
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_a_fault_of_the_service_tells_nothing_of_its_inside(client, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(client.app.state.serving.current, "search", broken)
    answer = client.post("/search", json={"text": "red"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert "secret of the house" in caplog.text


def test_a_token_is_asked_for_where_one_is_set(client_of):
    client = client_of(Settings(token="a-long-enough-secret"))
    refused = client.get("/info")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/info", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/info", headers={"Authorization": "Bearer a-long-enough-secret"}).status_code == 200
    assert client.get("/info", headers={"Cookie": "clipadapt_token=a-long-enough-secret"}).status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.get("/openapi.json").status_code == 401


def test_other_origins_may_ask_only_where_they_are_named(client_of):
    origin = {"Origin": "https://shop.example"}
    assert "access-control-allow-origin" not in client_of().get("/info", headers=origin).headers
    named = client_of(Settings(cors=("https://shop.example",)))
    assert named.get("/info", headers=origin).headers["access-control-allow-origin"] == "https://shop.example"
    other = named.get("/info", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_more_bytes_than_allowed_are_refused(client_of):
    client = client_of(Settings(Limits(upload_bytes=2_000)))
    assert client.post("/search", files={"image": bytes(3_000)}).status_code == 413
    assert client.post("/search", files={"image": bytes(200_000)}).status_code == 413


@pytest.mark.parametrize(
    ("limits", "pause", "code"),
    [(Limits(upload_bytes=2_000), 0.0, (413, "too_large")), (Limits(body_seconds=0.2), 0.05, (408, "too_slow"))],
)
def test_a_body_that_never_ends_is_refused(client_of, limits: Limits, pause: float, code: tuple[int, str]):
    app = client_of(Settings(limits)).app
    sent: list[dict] = []

    async def receive() -> dict:
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": b"x" * 500, "more_body": True}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/search", "raw_path": b"/search", "root_path": "", "scheme": "http",
        "query_string": b"", "headers": [(b"content-type", b"application/json")], "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    body = json.loads(b"".join(message.get("body", b"") for message in sent))
    assert (sent[0]["status"], body["error"]["code"]) == code


def test_the_openapi_document_describes_both_forms(client):
    document = client.get("/openapi.json").json()
    content = document["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert document["components"]["schemas"]["SearchBody"]["properties"]["k"]["maximum"] == 200
    assert document["components"]["schemas"]["Part"]["properties"]["weight"]
    page = client.get("/docs").text
    assert all(f"<code>{path}</code>" in page for path in document["paths"])
    assert "<script" not in page
