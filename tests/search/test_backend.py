"""The seam: an index knows nothing of an engine but what the protocol says."""

import ast
import inspect

import numpy as np
import pytest

from clipadapt.errors import StoreError
from clipadapt.search import index as module
from clipadapt.search.backend import Backend
from clipadapt.search.embedded import Embedded
from clipadapt.search.index import Index
from clipadapt.search.query import CompiledQuery
from clipadapt.search.topk import topk


@pytest.fixture(params=["embedded", "sharded"])
def built(request, vectors_of, tmp_path):
    if request.param == "sharded":
        request.getfixturevalue("in_shards")
    return Index.build(vectors_of(2_500), tmp_path / "index", factory="IVF32,SQ8,RFlat")


def test_the_embedded_engine_is_a_backend(built):
    assert isinstance(built.backend, Backend)


def test_an_index_imports_no_engine():
    tree = ast.parse(inspect.getsource(module))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    inner = {"engine", "contents", "versions", "searcher", "faiss_version"}
    assert not imported & {f"clipadapt.search.{name}" for name in inner}


def test_exact_search_scores_everything(built, vectors_of, cloud):
    vectors, queries = vectors_of(2_500).vectors, cloud(40, seed=11)
    compiled = [CompiledQuery(query, "picture", ()) for query in queries]
    found = built.backend.exact(compiled, 10, collapse=False)
    truth = topk(queries, vectors, 10).indices
    assert [[hit.id for hit in hits] for hits in found] == [[f"i{row}" for row in rows] for rows in truth]


def test_a_rollback_takes_back_the_last_change(built, vectors_of, tmp_path):
    with pytest.raises(StoreError, match="no version before 000001 is kept"):
        built.rollback()
    built.remove(["i1", "i2"])
    assert not built.holds("i1")
    assert built.rollback() == "000001"
    assert built.holds("i1")
    assert len(built) == len(Embedded(tmp_path / "index")) == 2_500
    built.add(vectors_of(3, first=9_000))  # goes on from what is current
    assert (len(built), built.holds("i1"), built.holds("i9002")) == (2_503, True, True)


def test_cells_and_ids_leave_out_what_was_removed(built):
    built.remove(["i0"])
    assert set(built.ids()) == {f"i{row}" for row in range(1, 2_500)}
    assert len(built.values("price")) == len(built) == len(built.ids())
    assert built.values("price")[0] == built.item(built.ids()[0]).attributes["price"]
    assert built.columns == {"id": "text", "product": "text", "price": "whole", "Pattern": "text", "tags": "list"}


def test_a_sample_is_of_the_index_and_stays(built, vectors_of):
    sample = built.backend.sample(50)
    assert np.isin(sample, vectors_of(2_500).vectors).all()
    assert (sample == built.backend.sample(50)).all()
