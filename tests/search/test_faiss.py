"""What faiss does that a search must guard against: each as faiss itself does it, and what comes of it here.

Where the first half of a test fails after an upgrade, faiss has changed and a guard may go.
"""

from typing import Any

import faiss as swig
import numpy as np
import pytest

from clipadapt.errors import StoreError
from clipadapt.search.contents import Contents, base_segment
from clipadapt.search.embedded import Embedded
from clipadapt.search.engine import FAISS, Engine, SearchParams
from clipadapt.search.faiss_version import check_faiss
from clipadapt.search.index import Index
from clipadapt.search.selection import Selection

faiss: Any = swig
COUNT, DIM = 3_000, 32


@pytest.fixture(scope="module")
def vectors():
    found = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def queries(vectors):
    noise = np.random.default_rng(1).standard_normal((60, DIM)).astype(np.float32)
    found = vectors[:60] + 0.1 * noise
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall(ids, truth):
    return np.mean([np.isin(exact, row).mean() for row, exact in zip(ids, truth, strict=True)])


def test_a_selector_alone_resets_nprobe_to_one(vectors, queries):
    engine = Engine.build(vectors, "IVF32,Flat")
    engine.ivf.nprobe = 32
    half = np.arange(COUNT) % 2 == 0
    truth = np.argsort(-(queries @ vectors[half].T), axis=1)[:, :10] * 2
    selector = Selection(half)
    _, raw = engine.ivf.search(queries, 10, params=faiss.SearchParametersIVF(sel=selector.bitmap()))
    assert recall(raw, truth) < 0.7  # one cell of 32, though the index says all
    assert recall(engine.exact(queries, 10, Selection(half)).indices, truth) == 1
    assert recall(engine.search(queries, 10, SearchParams(32, 1), Selection(half)).indices, truth) == 1


@pytest.mark.parametrize("factory", ["IVF32,SQ8,RFlat", "IVF32,PQ16x4fsr,RFlat", "PQ16x4fs,RFlat"])
def test_a_refined_index_ignores_the_selector_around_it(vectors, queries, factory):
    engine = Engine.build(vectors, factory)
    few = np.arange(COUNT) % 50 == 0
    selection = Selection(few)
    _, raw = engine.index.search(queries, 10, params=faiss.IndexRefineSearchParameters(sel=selection.bitmap()))
    assert not few[raw[raw >= 0]].all()  # results that the selector forbids
    found = engine.search(queries, 10, SearchParams(32, 16), Selection(few))
    assert few[found.indices].all()
    many = np.arange(COUNT) % 10 != 0
    assert many[engine.search(queries, 10, SearchParams(32, 16), Selection(many)).indices].all()


def test_plain_add_after_a_removal_reuses_ids(vectors, vectors_of, tmp_path):
    raw = faiss.index_factory(DIM, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT)
    raw.train(vectors)
    raw.add(vectors[:100])
    raw.remove_ids(np.arange(10))
    raw.add(vectors[100:101])
    assert np.concatenate([faiss.rev_swig_ptr(raw.invlists.get_ids(cell), raw.invlists.list_size(cell)).copy()
                           for cell in range(8) if raw.invlists.list_size(cell)]).tolist().count(90) == 2  # fmt: skip
    given = vectors_of(300)
    index = Index.build(given, tmp_path / "index", factory="IVF8,Flat")
    ids = given.items.table.column("id").to_pylist()
    index.remove(ids[:10])
    more = vectors_of(40, first=300)
    index.add(more)
    assert len(index) == 330
    for place, item in enumerate(more.items.table.column("id").to_pylist()):
        np.testing.assert_allclose(index.vector(item), more.vectors[place], atol=1e-6)
    gone = {hit.id for row in index.search(given.vectors[:10], 330, collapse=False) for hit in row} & set(ids[:10])
    assert not gone


@pytest.mark.parametrize("factory", ["Flat", "IVF32,Flat", "IVF32,SQ8,RFlat", "IVF32,PQ16x4fsr,RFlat", "HNSW16,Flat"])
def test_a_place_without_a_result_never_scores(vectors, queries, factory):
    """A finite score beside id -1 would rank nothing above something."""
    engine = Engine.build(vectors, factory)
    for count in (0, 1, 3):
        selection = Selection(np.arange(COUNT) < count)
        found = engine.search(queries, 5, SearchParams(1, 1), selection)
        assert (found.indices[:, :count] >= 0).all()
        assert (found.indices[:, count:] == -1).all()
        assert (found.scores[found.indices == -1] == -np.inf).all()


def test_finite_distances_beside_no_result_are_replaced():
    from clipadapt.search.topk import best_first

    scores, ids = np.array([[0.5, 3.0, 0.7]], np.float32), np.array([[4, -1, 9]])
    found = best_first(scores, ids)
    assert found.indices.tolist() == [[9, 4, -1]]
    assert found.scores[0, 2] == -np.inf


def test_a_file_forgets_max_codes_and_no_search_here_depends_on_it(vectors, queries, tmp_path):
    raw = faiss.index_factory(DIM, "IVF32,Flat", faiss.METRIC_INNER_PRODUCT)
    raw.train(vectors)
    raw.max_codes = 7
    faiss.write_index(raw, str(tmp_path / "raw"))
    assert faiss.read_index(str(tmp_path / "raw")).max_codes == 0
    engine = Engine.build(vectors, "IVF32,Flat")
    before = engine.search(queries, 10, SearchParams(16, 1))
    engine.ivf.max_codes = 7
    after = engine.search(queries, 10, SearchParams(16, 1))
    engine.write(tmp_path / "ours")
    read = Engine.read(tmp_path / "ours").search(queries, 10, SearchParams(16, 1))
    for found in (after, read):
        np.testing.assert_array_equal(found.indices, before.indices)


def test_recall_rises_with_the_cells_that_are_looked_into(vectors, queries):
    """Up to faiss 1.12 it fell: residual codes under inner product."""
    engine = Engine.build(vectors, "IVF64,PQ16x4fsr,RFlat")
    truth = engine.exact(queries, 10).indices
    recalls = [recall(engine.search(queries, 10, SearchParams(probe, 16)).indices, truth) for probe in (1, 4, 16, 64)]
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.95


@pytest.fixture
def built(vectors_of, tmp_path):
    return Index.build(vectors_of(2_500), tmp_path / "index", factory="IVF32,SQ8,RFlat")


def contents(index, **changed):
    meta = index.meta.model_copy(update=changed)
    backend = index.backend
    assert isinstance(backend, Embedded)
    base = base_segment(backend.engine.engines[0], backend.items, meta)
    return Contents((base,), backend.items, meta, np.empty((0, index.meta.dim), np.float32))


def test_the_version_that_measured_is_written(built):
    assert built.meta.faiss == FAISS


def test_an_older_faiss_measures_again(built, caplog):
    check_faiss(contents(built), "shop")
    check_faiss(contents(built, faiss="1.0.0"), "shop")
    check_faiss(contents(built, faiss=None), "shop")
    assert not caplog.records
    check_faiss(contents(built), "shop", running="1.12.0")
    assert "measured again with the older 1.12.0 here: recall is as it was" in caplog.text


def test_an_older_faiss_that_finds_less_is_refused(built, tmp_path):
    blind = {kind: SearchParams(1, 1) for kind in ("picture", "text")}
    with pytest.raises(StoreError, match=r"older 1\.12\.0 here finds less.*pip install 'faiss-cpu>=.*index tune shop"):
        check_faiss(contents(built, search_params=blind), "shop", running="1.12.0")


def test_a_search_asks(built, monkeypatch, vectors_of):
    asked = []
    monkeypatch.setattr("clipadapt.search.embedded.check_faiss", lambda _, name: asked.append(name))
    index = Index.open(built.backend.name)
    assert not asked
    for _ in range(2):
        index.search(vectors_of(1).vectors, 1)
    assert len(asked) == 1
