"""An index that others change is served as it is now, and what it was is let go of."""

import csv
import gc
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_factory import paint
from fastapi.testclient import TestClient
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors
from clipadapt.service.app import create_app
from clipadapt.service.following import IndexFollower
from clipadapt.service.opening import Opener, find
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings


@pytest.fixture
def shop(shop: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    return shutil.copytree(shop, tmp_path / "shop")


@pytest.fixture
def changed(shop: Path, model: Path) -> Path:
    """The index of the shop, as the command built it."""
    given = ["--model", f"local-dir:{model}", "--source", str(shop), "--split", "train", "--workers", "1"]
    assert main(["index", "build", *given, "--out", str(shop.parent / "index")]) == 0
    return shop.parent / "index"


@pytest.fixture
def serving() -> Iterator[Serving]:
    made = Serving(Settings(), "shop")
    yield made
    made.close()


@pytest.fixture
def follower(serving: Serving, changed: Path) -> IndexFollower:
    place, opener = find(str(changed)), Opener(serving)
    serving.replace(opener.open(place))
    return IndexFollower(serving, lambda one: opener.renewed(one, place))


@pytest.fixture
def asked(serving: Serving, follower: IndexFollower) -> Iterator[Callable[..., Any]]:
    """POST /search, or GET another path."""
    with TestClient(create_app(serving), base_url="http://127.0.0.1") as client:

        def ask(path: str = "/search", **body: Any) -> Any:
            answer = client.post(path, json=body) if body else client.get(path)
            return answer.json() if answer.headers["content-type"] == "application/json" else answer

        yield ask


def add_purple(shop: Path, index: Path) -> None:
    """One item of a new colour takes the place of the shop's other split, and comes into its index."""
    new = shop / "validation"
    shutil.rmtree(new)
    new.mkdir()
    paint("", "", 32, 99).save(new / "purple.png")
    names = ("file_name", "id", "name", "baseColour", "Pattern", "Sleeve Length", "product")
    with (new / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerow({"file_name": "purple.png", "id": "new1", "baseColour": "Purple", "product": "pnew"})
    assert main(["index", "add", str(index), "--source", str(shop), "--split", "validation", "--workers", "1"]) == 0


def counts(answer: Any, column: str) -> dict[str, int]:
    (facet,) = [one for one in answer["facets"] if one["name"] == column]
    return {one["value"]: one["count"] for one in facet["values"]}


def test_what_is_added_is_found_filtered_counted_shown_and_spoken_of(
    shop: Path, changed: Path, follower: IndexFollower, asked: Callable[..., Any]
):
    before, colours = asked("/info")["items"], counts(asked("/facets"), "baseColour")
    assert not follower.look()
    assert asked(text="a purple shirt", where=["baseColour=Purple"])["hits"] == []
    add_purple(shop, changed)
    assert asked("/items/new1")["error"]["code"] == "unknown_item", "not before it is looked for"
    assert follower.look()
    assert not follower.look()
    found = asked(text="a purple shirt", where=["baseColour=Purple"])
    assert [hit["id"] for hit in found["hits"]] == ["new1"] and not found["warnings"]
    assert found["understood"][0]["explained"].endswith("baseColour: Purple")
    assert asked(found["hits"][0]["image_url"]).headers["content-type"] == "image/jpeg"
    assert asked("/info")["items"] == asked("/facets")["items"] == before + 1
    assert counts(asked("/facets"), "baseColour") == {**colours, "Purple": 1}
    assert f'clipadapt_items{{arm="current"}} {before + 1}.0' in asked("/metrics").text
    assert "clipadapt_release_switches_total{" not in asked("/metrics").text, "it is the same release"


def test_what_is_removed_is_gone_from_answers_that_were_given_before(
    changed: Path, follower: IndexFollower, asked: Callable[..., Any]
):
    queries: list[dict[str, Any]] = [{"text": "a red shirt"}, {"text": "a red shirt", "where": ["Pattern is known"]}]
    first = asked(**queries[1])["hits"][0]["id"]
    assert all(first in [hit["id"] for hit in asked(**query, collapse=False)["hits"]] for query in queries)
    asked(f"/items/{first}/picture")
    assert main(["index", "remove", str(changed), first]) == 0
    assert follower.look()
    assert all(first not in [hit["id"] for hit in asked(**query, collapse=False)["hits"]] for query in queries)
    assert asked(f"/items/{first}")["error"]["code"] == "unknown_item"
    assert asked(f"/items/{first}/picture")["error"]["code"] == "unknown_item"
    every: dict[str, Any] = {"text": "a red shirt", "collapse": False, "k": 100}
    left = [hit["id"] for hit in asked(**every)["hits"]]
    assert main(["index", "compact", str(changed)]) == 0
    follower.look()
    assert [hit["id"] for hit in asked(**every)["hits"]] == left


def test_a_request_keeps_the_version_it_began_with_and_the_old_version_is_let_go_of(
    changed: Path, follower: IndexFollower, serving: Serving
):
    with serving.using() as collection:
        ids = collection.index.ids()
        Index.open(changed).remove(ids[:1])
        assert follower.look()
        for number in (1, 2):
            Index.open(changed).remove(ids[number : number + 1])
            assert follower.look()
        assert collection.index.item(ids[0]).product
        assert collection.index.search("still answers", 3)[0]
        old = [weakref.ref(one) for one in (collection, collection.index, collection.index.backend)]
        encoder = collection.encoder
    del collection
    gc.collect()
    assert [one() for one in old] == [None] * len(old)
    with serving.using() as collection:
        assert len(collection.index) == len(ids) - 3
        assert collection.encoder is encoder
        assert collection.index.search("the model is still there", 3)[0]
        del collection
    serving.replace(None)
    with pytest.raises(RuntimeError, match="closed"):
        encoder.encode_texts(["too late"])


def test_an_index_of_another_model_is_refused_and_the_one_before_answers_on(
    changed: Path, shop: Path, follower: IndexFollower, asked: Callable[..., Any], tmp_path: Path
):
    other = write_open_clip(tmp_path / "other", {**OPEN_CLIP["clip"], "embed_dim": 16})
    given = ["--model", f"local-dir:{other}", "--source", str(shop), "--split", "train", "--workers", "1"]
    assert main(["index", "build", *given, "--out", str(changed)]) == 0
    assert not follower.look() and not follower.look()
    (fault,) = asked("/info")["faults"]
    assert fault.startswith("the index as it is now was refused, the version before answers on: ")
    assert str(tmp_path) not in fault.replace(str(other), ""), "clients need not know where a server keeps its files"
    assert 'clipadapt_releases_refused_total{arm="current"} 1.0' in asked("/metrics").text
    assert asked(text="a red shirt")["hits"]
    Index.open(changed).rollback()
    follower.look()
    assert not asked("/info")["faults"]


def test_an_index_in_milvus_is_served_and_followed(shop: Path, model: Path, tmp_path: Path, serving: Serving):
    """Opened, shown, filtered and followed like a folder; addresses are not said to clients."""
    pytest.importorskip("milvus_lite", reason="pip install 'clipadapt[milvus]'")
    address = f"milvus:{tmp_path}/shop.db/shop"
    given = ["--model", f"local-dir:{model}", "--source", str(shop), "--split", "train", "--workers", "1"]
    assert main(["index", "build", *given, "--out", address]) == 0
    place, opener = find(address), Opener(serving)
    serving.replace(opener.open(place))
    follower = IndexFollower(serving, lambda one: opener.renewed(one, place))
    with TestClient(create_app(serving), base_url="http://127.0.0.1") as client:
        before = client.get("/info").json()["items"]
        found = client.post("/search", json={"text": "a red shirt", "where": ["Pattern is known"]}).json()["hits"]
        assert found and client.get(found[0]["image_url"]).headers["content-type"] == "image/jpeg"
        assert not follower.look()
        Index.open(address).remove([found[0]["id"]])
        assert follower.look() and not follower.look()
        assert client.get("/info").json()["items"] == before - 1
        four = Items.of(pa.table({"id": list("abcd")}))
        Index.build(Vectors(np.eye(4, dtype=np.float32), four, "other", None), address)
        assert not follower.look()
        faults = str(client.get("/info").json())
        assert "the version before answers on" in faults and str(tmp_path) not in faults
