"""Vectors and tags over HTTP are those of the library."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipadapt.errors import ConfigError
from clipadapt.inputs import resolve
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.search.index import Index
from clipadapt.service.tagger import Tagger
from clipadapt.tagging.tag import tag
from clipadapt.tagging.thresholds import Thresholds, fit

ATTRIBUTES = ("baseColour", "Pattern", "Sleeve Length")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "prompts.yaml"
    file.write_text('captions: ["a {baseColour} shirt"]\nother_attributes: {templates: ["a {value} shirt"]}\n')
    return file


@pytest.fixture(scope="module")
def thresholds(shop: Path, encoder, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted on train, then lowered so far that some tags are sure and others are not."""
    tune = resolve(source=str(shop), attributes=ATTRIBUTES).catalogue("train")
    words = Prompts.load(str(prompts))
    fitted = fit(encoder, tune, words, tune.attributes, VectorCache(), progress=False)
    lowered = {
        name: one._replace(shown=one.shown._replace(threshold=0.5, reason=None))
        for name, one in fitted.attributes.items()
    }
    file = tmp_path_factory.mktemp("fitted") / "thresholds.json"
    dataclasses.replace(fitted, attributes=lowered).save(file)
    return file


def test_vectors_are_those_of_the_encoder(client, encoder):
    answer = client.post("/embed", json={"texts": ["a red shirt", "skirt"]}).json()
    assert (answer["image_space"], answer["dim"]) == (encoder.image_space, encoder.dim)
    np.testing.assert_allclose(answer["vectors"], encoder.encode_texts(["a red shirt", "skirt"]).numpy(), atol=1e-5)
    picture, content = Image.new("RGB", (40, 30), "red"), io.BytesIO()
    picture.save(content, "PNG")
    answer = client.post("/embed", files={"image": content.getvalue()}).json()
    np.testing.assert_allclose(answer["vectors"], encoder.encode_images([picture]).numpy(), atol=1e-5)


def test_a_vector_that_is_not_finite_is_a_fault_of_the_service(client, encoder, monkeypatch):
    monkeypatch.setattr(encoder, "encode_texts", lambda texts: torch.full((len(texts), encoder.dim), float("nan")))
    for path, body in (("/embed", {"texts": ["red"]}), ("/search", {"text": "red", "plain": True})):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), path


@pytest.mark.parametrize(
    ("body", "status"),
    [({"texts": []}, 422), ({"texts": ["a"] * 65}, 422), ({"texts": [" "]}, 200), ({}, 422), ({"texts": "a"}, 422)],
)
def test_a_bad_request_for_vectors_is_refused(client, body, status: int):
    assert client.post("/embed", json=body).status_code == status


def test_tags_are_those_of_the_command(client_of, collection_of, shop: Path, encoder, prompts: Path, thresholds: Path):
    collection = collection_of()
    collection.tagger = Tagger(thresholds, str(prompts), encoder)
    client = client_of(collection=collection)
    assert client.get("/info").json()["tags"] is True
    catalogue = resolve(source=str(shop)).items("validation")
    expected = tag(
        encoder, catalogue, Prompts.load(str(prompts)), Thresholds.load(thresholds), VectorCache(), progress=False
    )
    states = set()
    for row in range(len(catalogue)):
        tags = client.post("/tags", files={"image": catalogue.picture_bytes(row)}).json()["tags"]
        for one in tags:
            column = expected.columns[one["attribute"]]
            assert one["value"] == column.values[row]
            assert one["probability"] == pytest.approx(column.probability[row], abs=1e-4)
            assert one["state"] == (column.states[row] or "").replace(" ", "_")
            states.add(one["state"])
        assert {one["attribute"] for one in tags} == set(expected.columns)
    assert len(states) > 1, "or the states are not compared"
    item = collection.index.ids()[0]
    by_item = client.post("/tags", json={"item": item}).json()["tags"]
    assert {one["attribute"] for one in by_item} == set(expected.columns)
    assert client.post("/tags", json={"item": "nobody"}).status_code == 404
    assert client.post("/tags", json={"item": item}, params={"x": "y"}).status_code == 200


def test_tags_of_an_item_whose_index_keeps_some_dimensions_want_its_picture(
    client_of, collection_of, shop: Path, encoder, prompts: Path, thresholds: Path, tmp_path: Path
):
    pictures, folder = resolve(source=str(shop)).items("train"), tmp_path / "index"
    short = Index.build(pictures, folder, encoder=encoder, dims=encoder.dim // 2)
    collection = collection_of(folder=folder)
    collection.tagger = Tagger(thresholds, str(prompts), encoder)
    client = client_of(collection=collection)
    answer = client.post("/tags", json={"item": short.ids()[0]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "short_vectors")
    assert client.post("/tags", files={"image": pictures.picture_bytes(0)}).json()["tags"]
    assert client.post("/search", json={"text": "a red shirt", "k": 2}).json()["hits"]


def test_tags_of_an_index_without_thresholds_are_refused_with_the_reason(client):
    answer = client.post("/tags", json={"item": "0003"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_tags")
    assert "--thresholds" in answer.json()["error"]["message"]


def test_thresholds_of_other_words_are_refused(thresholds: Path, encoder, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text('captions: ["one {baseColour} shirt"]\nother_attributes: {templates: ["{value}"]}\n')
    with pytest.raises(ConfigError, match="fitted with the words"):
        Tagger(thresholds, str(other), encoder)
