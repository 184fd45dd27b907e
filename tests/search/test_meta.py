"""index.json of older, of today's and of newer versions of clipadapt."""

import json

import pytest

from clipadapt.errors import StoreError
from clipadapt.search.index import Index, Target
from clipadapt.search.meta import Meta


def test_an_index_of_version_1_opens(vectors_of, tmp_path):
    index = Index.build(vectors_of(40), tmp_path / "index")
    old = json.loads(index.meta.to_json())
    old["schema_version"], old["efforts"] = 1, old.pop("search_params")
    del old["faiss"]
    (tmp_path / "index.json").write_text(json.dumps(old))
    meta = Meta.read(tmp_path / "index.json")
    assert (meta.search_params, meta.faiss) == (index.meta.search_params, None)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(StoreError, match=r"index.json: is no JSON"):
        Meta.read(tmp_path / "index.json")


@pytest.mark.parametrize(
    ("factory", "shards", "form"),
    [
        ("Flat", 1, 3), ("IVF4,SQ8,RFlat", 1, 3), ("IVF4,SQ8,Refine(SQfp16)", 1, 4), ("IVF4_HNSW32,SQ8,RFlat", 1, 4),
        ("Flat", 2, 4),
    ],
)  # fmt: skip
def test_an_index_that_an_older_clipadapt_cannot_search_says_so(vectors_of, tmp_path, factory, shards, form):
    Index.build(vectors_of(400), tmp_path / "index", factory=factory, shards=shards)
    file = tmp_path / "index/versions/000001/index.json"
    document = json.loads(file.read_text())
    assert document["schema_version"] == form
    assert ("shards" in document) == (shards > 1), "a clipadapt from before refuses a key that it does not know"
    index = Index.open(tmp_path / "index")
    index.tune(Target(recall=0.5), ["Flat"])
    document = json.loads((tmp_path / "index/versions/000002/index.json").read_text())
    assert document["schema_version"] == (3 if shards == 1 else 4)


def test_an_index_of_a_newer_clipadapt_is_refused_with_what_to_do(vectors_of, tmp_path):
    index = Index.build(vectors_of(40), tmp_path / "index")
    (tmp_path / "index.json").write_text(json.dumps(json.loads(index.meta.to_json()) | {"schema_version": 5}))
    with pytest.raises(StoreError, match=r"index\.json: has schema_version 5, .* reads 1 to 4; update clipadapt"):
        Meta.read(tmp_path / "index.json")
