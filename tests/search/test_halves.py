"""An index of vectors that come in half precision: kept so, exactly, through building, changes and compaction."""

import errno
import itertools
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import StoreError
from clipadapt.search import building, compaction, embedded, recall
from clipadapt.search.embed import embed
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.index import Index
from clipadapt.search.meta import Target
from clipadapt.search.query import CompiledQuery
from clipadapt.search.segments import Segments
from clipadapt.search.topk import topk
from clipadapt.search.vector_parts import Form, Joined, Matrix, PartFile, encoded
from clipadapt.search.vectors import Vectors

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


@pytest.fixture
def steady(monkeypatch):
    """Of search parameters that reach the target the least are chosen, and not what is quickest at this moment."""
    monkeypatch.setattr(recall, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


FACTORIES = ["Flat", "SQ8,Refine(SQfp16)", "IVF4,SQ8,Refine(SQfp16)", "IVF4,SQ8,RFlat", "IVF4,Flat", "HNSW8,Flat"]


@pytest.mark.usefixtures("steady")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 160), max_size=5),
    name=st.sampled_from(["npy", "parquet"]),
    factory=st.sampled_from(FACTORIES),
    shards=st.sampled_from([1, 3]),
    dims=st.sampled_from([None, 12]),
    seed=st.integers(0, 99),
)
def test_parts_of_halves_give_the_index_of_one_array(
    tmp_path_factory, vectors_of, cuts, name, factory, shards, dims, seed
):
    """Files bit for bit; and every score is what adding up products of the halves gives."""
    folder = tmp_path_factory.mktemp("halves")
    source, more = (_halved(vectors_of(count, at, seed=seed)) for count, at in ((160, 0), (9, 500)))
    made, new = (
        one._replace(vectors=_parts(folder / str(number), one.vectors, cuts, name))
        for number, one in enumerate((source, more))
    )
    options = {"factory": factory, "shards": shards, "dims": dims, "target": Target(recall=0.5)}
    index, other = (Index.build(one, folder / where, **options) for one, where in ((made, "parts"), (source, "whole")))
    for path in sorted((folder / "whole").rglob("index.faiss")):
        assert path.read_bytes() == (folder / "parts" / path.relative_to(folder / "whole")).read_bytes(), path
    assert sorted(path.name for path in (folder / "parts").iterdir()) == ["current", "lock", "versions"]
    index.add(new)
    other.add(more)
    kept = np.concatenate([np.asarray(one.shortened(dims or 32).vectors) for one in (source, more)]).astype(np.float32)
    if factory.endswith("Refine(SQfp16)"):
        kept[:160] = kept[:160].astype(np.float16)
    ids = [*source.items.ids(), *more.items.ids()]
    np.testing.assert_array_equal([index.vector(item) for item in ids], kept)
    queries = [CompiledQuery(kept[row], "picture", ()) for row in (3, 77, 165)]
    for query, found, others in zip(
        queries, index.backend.exact(queries, 8, collapse=False), other.backend.exact(queries, 8, collapse=False),
        strict=True,
    ):  # fmt: skip
        scores = {
            item: sum(float(a) * float(b) for a, b in zip(vector, query.vector, strict=True))
            for item, vector in zip(ids, kept, strict=True)
        }
        best = sorted(scores.values(), reverse=True)[:8]
        np.testing.assert_allclose([hit.score for hit in found], best, atol=1e-6)
        np.testing.assert_allclose([scores[hit.id] for hit in found], best, atol=1e-6)
        assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in others]


@pytest.mark.parametrize("form", [Form("whole", "float16"), Form("npy", "float16"), Form("parquet", "float16")])
def test_what_embed_leaves_in_half_precision_is_so_in_the_index(painter, shop, tmp_path, form, monkeypatch):
    monkeypatch.setattr(building, "choose_factory", lambda *_, half: "SQ8,Refine(SQfp16)" if half else "Flat")
    given_to: list[object] = []
    build = Engine.build
    monkeypatch.setattr(Engine, "build", lambda vectors, *more: given_to.append(vectors) or build(vectors, *more))
    catalogue = Catalogue.load(shop, "train")
    embed(painter(), catalogue.subset(range(8)), tmp_path / "out", shard=3, form=form)
    source = Vectors.open(tmp_path / "out")
    index = Index.build(source, tmp_path / "index")
    assert index.meta.factory == "SQ8,Refine(SQfp16)"
    assert isinstance(given_to[0], np.memmap), "mapped while the index is built, and not in memory"
    np.testing.assert_array_equal(_engine(index).all_vectors(), np.asarray(source.kept().vectors))
    assert source.vectors.dtype == np.float32, "who computes with them gets what can be computed with"
    assert Index.build(source, tmp_path / "cut", dims=3).meta.factory == "Flat"
    assert Index.build(source, tmp_path / "shards", shards=2).meta.factory == "SQ8,Refine(SQfp16)"


def test_halves_that_are_added_come_out_of_a_rebuild_bit_for_bit(source, vectors_of, tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "EXACT", 20)
    index = Index.build(source, tmp_path / "index", factory=HALVES, target=Target(recall=0.9))
    index.remove([f"i{row}" for row in range(900)])
    more = _halved(vectors_of(100, first=5_000))
    index.add(more._replace(vectors=_parts(tmp_path / "parts", more.vectors, [30, 30], "parquet")))
    for done in (None, index.compact()):
        assert done in (None, "rebuild")
        np.testing.assert_array_equal(index.backend.vectors(more.items.ids()), np.asarray(more.vectors, np.float32))


def test_a_disk_that_fails_while_halves_are_put_into_one_file_is_told(vectors_of, tmp_path, monkeypatch):
    made = _halved(vectors_of(60))
    parts = made._replace(vectors=_parts(tmp_path / "parts", made.vectors, [30], "npy"))
    Index.build(vectors_of(30), tmp_path / "index")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(StoreError, match=r"No space left on device.*the index stays as it was"):
        Index.build(parts, tmp_path / "index", factory="SQ8,Refine(SQfp16)")
    assert len(Index.open(tmp_path / "index")) == 30


def _halved(made: Vectors) -> Vectors:
    return made._replace(vectors=np.asarray(made.vectors).astype(np.float16))


def _parts(folder: Path, whole: Matrix, cuts: list[int], name: str) -> Joined:
    """Cut at those rows, more than once at some; as `embed` leaves them."""
    folder.mkdir()
    vectors = np.asarray(whole)
    ends = [0, *sorted(min(cut, len(vectors)) for cut in cuts), len(vectors)]
    files = []
    for start, end in itertools.pairwise(ends):
        form = Form("parquet" if name == "parquet" else "npy", "float16")
        file = folder / f"{len(files)}{form.suffix}"
        file.write_bytes(encoded(vectors[start:end], [str(row) for row in range(start, end)], form))
        files.append(PartFile(file, end - start))
    return Joined(files, vectors.shape[1], halves=True)


def _engine(index: Index) -> Engine:
    assert isinstance(index.backend, embedded.Embedded)
    engine = index.backend.engine
    assert isinstance(engine, Segments)
    return engine.engines[0]
