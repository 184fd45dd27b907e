"""An index of vectors that come in half precision: kept so, exactly, through building, changes and compaction."""

import faiss
import numpy as np
import pytest

from clipadapt.errors import StoreError
from clipadapt.search import building, compaction, embedded
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.index import Index
from clipadapt.search.meta import Target
from clipadapt.search.segments import Segments
from clipadapt.search.topk import topk

HALVES = "IVF16,SQ8,Refine(SQfp16)"


@pytest.fixture
def source(vectors_of, tmp_path):
    """2,500 items, whose vectors are mapped from a file of halves."""
    made = vectors_of(2_500)
    np.save(tmp_path / "vectors.npy", made.vectors.astype(np.float16))
    return made._replace(vectors=np.load(tmp_path / "vectors.npy", mmap_mode="r"))


def test_they_are_kept_as_they_came(source, tmp_path):
    index = Index.build(source, tmp_path / "index", factory=HALVES)
    kept = _engine(index).all_vectors()
    assert kept.dtype == np.float16
    np.testing.assert_array_equal(kept, source.vectors)
    truth = topk(kept[:50].astype(np.float32), source.vectors, 5)
    found = _engine(index).search(kept[:50].astype(np.float32), 5, index.meta.search_params["picture"])
    np.testing.assert_allclose(found.scores[:, 0], truth.scores[:, 0], atol=1e-6)
    assert index.meta.measured["picture"].recall > 0.98


def test_auto_keeps_them_where_vectors_are_halves(cloud, monkeypatch, vectors_of, tmp_path):
    monkeypatch.setattr(building, "choose_factory", lambda *shape, half: HALVES if half else "Flat")
    made = vectors_of(600)
    assert Index.build(made, tmp_path / "single").meta.factory == "Flat"
    assert Index.build(made._replace(vectors=made.vectors.astype(np.float16)), tmp_path / "half").meta.factory == HALVES


def test_the_file_is_stock_faiss_and_half_as_large(source, tmp_path):
    sizes = {}
    for exact in ("RFlat", "Refine(SQfp16)"):
        path = tmp_path / exact
        engine = Engine.build(source.vectors, f"IVF16,SQ8,{exact}")
        engine.set_default_params(SearchParams(16, 4))
        engine.write(path)
        sizes[exact] = path.stat().st_size
        assert sizes[exact] == engine.size()
        stock = faiss.read_index(str(path))
        assert stock.ntotal == 2_500
        assert (stock.search(source.vectors[:5].astype(np.float32), 3)[1][:, 0] == np.arange(5)).all()
    assert sizes["RFlat"] - sizes["Refine(SQfp16)"] == pytest.approx(2 * 2_500 * 32, abs=200)


def test_changes_and_a_rebuild_leave_the_others_as_they_were(source, vectors_of, tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 20)
    index = Index.build(source, tmp_path / "index", factory=HALVES, target=Target(recall=0.9))
    index.remove([f"i{row}" for row in range(900)])
    more = vectors_of(100, first=5_000)
    index.add(more)
    assert index.compact() == "rebuild"
    assert index.meta.factory == HALVES
    assert _engine(index).all_vectors().dtype == np.float16
    np.testing.assert_array_equal(index.vector("i2000"), source.vectors[2_000])
    np.testing.assert_allclose(index.vector("i5003"), more.vectors[3], atol=5e-4)
    index.add(vectors_of(60, first=6_000))
    assert index.compact() == "seal"
    (hits,) = index.search(source.vectors[1_500].astype(np.float32), 1, collapse=False)
    assert hits[0].id == "i1500"


def test_tune_measures_factories_that_keep_halves(source, tmp_path):
    index = Index.build(source, tmp_path / "index", factory=HALVES)
    index.tune(Target(recall=0.5))
    assert _engine(index).all_vectors().dtype == (np.float32 if index.meta.factory.endswith("Flat") else np.float16)
    assert not any(point.factory.endswith(",RFlat") for point in index.meta.curve)
    np.testing.assert_array_equal(index.vector("i17"), source.vectors[17])


def test_single_precision_is_rounded_where_halves_are_named(vectors_of, tmp_path):
    made = vectors_of(600)
    index = Index.build(made, tmp_path / "index", factory="SQ8,Refine(SQfp16)")
    np.testing.assert_array_equal(_engine(index).all_vectors(), made.vectors.astype(np.float16))


def test_a_disk_that_fails_while_a_compaction_writes_is_told(source, vectors_of, tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 20)
    index = Index.build(source, tmp_path / "index", factory=HALVES)
    index.add(vectors_of(60, first=6_000))
    before = index.ids()

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_segment", broken)
        with pytest.raises(StoreError, match="the index stays as it was"):
            index.compact()
    assert Index.open(tmp_path / "index").ids() == before
    assert index.compact() == "seal"


def _engine(index: Index) -> Engine:
    assert isinstance(index.backend, embedded.Embedded)
    engine = index.backend.engine
    assert isinstance(engine, Segments)
    return engine.engines[0]
