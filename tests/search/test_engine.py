from pathlib import Path

import faiss
import numpy as np
import pytest

from clipadapt.errors import StoreError, UsageError
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.factory import check_factory, choose_factory
from clipadapt.search.mapped import FileRows
from clipadapt.search.selection import Selection
from clipadapt.search.topk import topk

FACTORIES = [
    "Flat", "SQ8,RFlat", "PQ8,RFlat", "IVF32,Flat", "IVF32,SQ8,RFlat", "IVF32,SQfp16,RFlat", "IVF32,PQ8,RFlat",
    "IVF32,PQ16x4fsr,RFlat", "IVF32,PQ8x4fs,RFlat", "HNSW16,Flat", "HNSW16,SQ8,RFlat",
    "IVF32_HNSW16,PQ16x4fsr,RFlat", "IVF32_HNSW16,PQ16x4fsr,Refine(SQfp16)", "SQ8,Refine(SQfp16)",
]  # fmt: skip
COUNT = 3_000


@pytest.fixture(scope="module")
def vectors(cloud):
    return cloud(COUNT).astype(np.float16).astype(np.float32)  # so that halves lose nothing


@pytest.fixture(scope="module")
def queries(cloud):
    return cloud(40, seed=5)


@pytest.fixture(scope="module", params=FACTORIES)
def engine(request, vectors):
    return Engine.build(vectors, request.param)


def recall(found, truth):
    return np.mean([np.isin(want[want >= 0], got).mean() for got, want in zip(found, truth, strict=True)])


def test_everything_looked_at_is_exact(engine, vectors, queries):
    found = engine.exact(queries, 10)
    truth = topk(queries, vectors, 10)
    assert recall(found.indices, truth.indices) == 1
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-6)


def test_search_parameters_find_most_and_scores_are_exact(engine, vectors, queries):
    found = engine.search(queries, 10, SearchParams(12 if engine.ivf is not None else 100, 16))
    assert recall(found.indices, topk(queries, vectors, 10).indices) > 0.93
    for query, scores, rows in zip(queries, found.scores, found.indices, strict=True):
        np.testing.assert_allclose(scores, vectors[rows] @ query, atol=1e-6)
        assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05, 0.001, 0.0])
@pytest.mark.parametrize("kind", ["independent", "far from queries", "whole clusters"])
def test_filters_lose_nothing_at_any_selectivity(engine, vectors, queries, share, kind):
    rng = np.random.default_rng(1)
    if kind == "independent":
        mask = rng.random(COUNT) < share
    else:
        closeness = (vectors @ queries.T).max(axis=1) if kind == "far from queries" else np.round(vectors[:, 0], 2)
        mask = np.zeros(COUNT, bool)
        mask[np.argsort(closeness, kind="stable")[: round(share * COUNT)]] = True
    found = engine.search(queries, 10, SearchParams(12 if engine.ivf is not None else 100, 16), Selection(mask)).indices
    truth = topk(queries, vectors, 10, allowed=mask).indices
    assert recall(found, truth) > 0.93 if mask.any() else (found == -1).all()
    assert mask[found[found >= 0]].all()
    assert ((found >= 0).sum(axis=1) == min(10, mask.sum())).all()


def test_where_the_nearest_cells_hold_too_few_more_are_looked_into_and_not_everything(monkeypatch):
    rng = np.random.default_rng(0)
    places = np.repeat(rng.standard_normal((400, 64)), 5, axis=0)  # groups of five, further apart than they are wide
    vectors = places + 0.05 * rng.standard_normal(places.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    for factory in ("IVF200,Flat", "IVF200,SQ8,RFlat"):
        engine = Engine.build(vectors, factory)
        short = vectors[(engine.ivf.search(vectors, 10)[1] < 0).any(axis=1)]
        assert len(short) > 10
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "exact", None)
            found = engine.search(short, 10, SearchParams(1, 1))
        assert (found.indices >= 0).all()
        assert 0.5 < recall(found.indices, topk(short, vectors, 10).indices) < 1


def test_a_lone_query_finds_what_it_finds_in_company(engine, queries):
    mask = np.arange(COUNT) % 2 == 0
    together = engine.search(queries, 5, SearchParams(8, 16), Selection(mask)).indices
    alone = np.concatenate(
        [engine.search(query[None], 5, SearchParams(8, 16), Selection(mask)).indices for query in queries]
    )
    assert (together == alone).mean() > 0.99


@pytest.mark.parametrize("mapped", [True, False])
def test_reads_what_it_wrote(engine, queries, tmp_path, mapped):
    engine.write(tmp_path / "index.faiss")
    assert (tmp_path / "index.faiss").stat().st_size == engine.size()
    again = Engine.read(tmp_path / "index.faiss", mapped=mapped)
    params = SearchParams(8, 16)
    assert (again.search(queries, 5, params).indices == engine.search(queries, 5, params).indices).all()
    rows = np.array([3, 0, COUNT - 1])
    assert (again.vectors(rows) == engine.vectors(rows)).all()
    assert (again.all_vectors() == engine.all_vectors()).all()


def test_stock_faiss_reads_it(engine, vectors, tmp_path):
    engine.set_default_params(SearchParams(8, 32))
    engine.write(tmp_path / "index.faiss")
    stock = faiss.read_index(str(tmp_path / "index.faiss"))
    assert stock.ntotal == COUNT
    assert (stock.search(vectors[:5], 10)[1][:, 0] == np.arange(5)).all()


def test_what_is_added_is_found(engine, cloud, queries, tmp_path):
    engine.write(tmp_path / "index.faiss")
    grown = Engine.read(tmp_path / "index.faiss", mapped=False)
    grown.search(queries, 5, SearchParams(8, 16), Selection(np.arange(COUNT) % 2 == 0))  # caches that must not go stale
    grown.add(queries)
    mask = np.arange(COUNT + 40) >= COUNT
    found = grown.search(queries, 1, SearchParams(32, 16), Selection(mask))
    assert (found.indices[:, 0] == np.arange(COUNT, COUNT + 40)).all()


@pytest.mark.parametrize("k", [COUNT // 2, COUNT, COUNT + 5])
def test_asking_for_many_gives_all_there_are(engine, queries, k):
    found = engine.search(queries[:2], k, SearchParams(4, 4)).indices
    assert found.shape == (2, k)
    assert ((found >= 0).sum(axis=1) == min(k, COUNT)).all()


def test_an_empty_engine_finds_nothing(queries):
    engine = Engine.build(np.empty((0, 32), np.float32), "Flat")
    assert (engine.search(queries, 3, SearchParams(1, 1)).indices == -1).all()
    assert engine.all_vectors().shape == (0, 32)


def test_memory_leaves_exact_vectors_on_the_disk(vectors):
    refined, flat = Engine.build(vectors, "IVF32,SQ8,RFlat"), Engine.build(vectors, "Flat")
    assert flat.memory() == flat.size() >= vectors.nbytes
    assert refined.memory() < 0.5 * vectors.nbytes < refined.size()


def test_seed_decides(vectors, queries):
    first, second = (Engine.build(vectors, "IVF32,SQ8,RFlat", seed=3) for _ in range(2))
    assert (
        first.search(queries, 9, SearchParams(2, 4)).indices == second.search(queries, 9, SearchParams(2, 4)).indices
    ).all()


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("IVF32,SQ8", "exact vectors are kept once"), ("IVF32,Flat,RFlat", "exact vectors are kept once"),
        ("OPQ8,IVF32,PQ8", "not one of the kinds"), ("IVF32", "not one of the kinds"), ("IVF32Flat", "not one"),
        ("IVF5000,Flat", "1000 vectors cannot fill 5000 cells; write Flat, or at most IVF25"),
        ("PQ7,RFlat", "7 does not divide it"), ("flat", "not one of the kinds"),
    ],
)  # fmt: skip
def test_factories_that_cannot_be(factory, said):
    with pytest.raises(UsageError, match=said):
        check_factory(factory, 1000, 32)


@pytest.mark.parametrize("count", [0, 100, 20_000, 300_000, 1_000_000])
def test_auto_is_a_factory_that_can_be(count):
    check_factory(choose_factory(count, 512), count, 512)


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "index.faiss").write_bytes(b"nothing of the kind")
    for mapped in (True, False):
        with pytest.raises(StoreError, match="FAISS cannot read it"):
            Engine.read(tmp_path / "index.faiss", mapped=mapped)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_the_systems_own_error(vectors):
    with pytest.raises(OSError, match="No space left"):
        Engine.build(vectors, "Flat").write(Path("/dev/full"))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_build_reads_mapped_halves_from_their_file_where_they_are_large(vectors, queries, tmp_path, monkeypatch):
    factory = "IVF32,PQ16x4fsr,Refine(SQfp16)"
    np.save(tmp_path / "vectors.npy", np.asarray(vectors, np.float16))
    small = Engine.build(np.load(tmp_path / "vectors.npy", mmap_mode="r"), factory)
    monkeypatch.setattr("clipadapt.search.mapped.MOST", 0)
    large = Engine.build(np.load(tmp_path / "vectors.npy", mmap_mode="r"), factory)
    assert isinstance(large.all_vectors(), FileRows)
    for one, other in zip(*(engine.search(queries, 10, SearchParams(8, 8)) for engine in (small, large)), strict=True):
        np.testing.assert_array_equal(one, other)
    for name, engine in (("small", small), ("large", large)):
        engine.write(tmp_path / name)
    assert (tmp_path / "small").read_bytes() == (tmp_path / "large").read_bytes()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "factory", ["SQ8,RFlat", "IVF32,SQ8,RFlat", "IVF32,PQ16x4fsr,Refine(SQfp16)", "HNSW16,Flat", "Flat"]
)
def test_exact_vectors_of_a_large_index_are_read_from_its_file(factory, vectors, queries, tmp_path, monkeypatch):
    Engine.build(vectors, factory).write(tmp_path / "index.faiss")
    mapped = Engine.read(tmp_path / "index.faiss")
    monkeypatch.setattr("clipadapt.search.mapped.MOST", 0)
    large = Engine.read(tmp_path / "index.faiss")
    assert isinstance(large.all_vectors(), FileRows)
    np.testing.assert_array_equal(np.asarray(large.all_vectors()), np.asarray(mapped.all_vectors()))
    few, many = np.zeros(COUNT, bool), np.random.default_rng(3).random(COUNT) < 0.6
    few[::100] = True
    for selection in (None, Selection(few), Selection(many)):
        for one, other in zip(
            (large.search(queries, 10, SearchParams(8, 16), selection), large.exact(queries, 10, selection)),
            (mapped.search(queries, 10, SearchParams(8, 16), selection), mapped.exact(queries, 10, selection)),
            strict=True,
        ):
            np.testing.assert_array_equal(one.indices, other.indices)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)


@pytest.mark.parametrize(("refine", "k", "expected"), [
    (1, 10, 10), (4, 100, 400), (64, 24, 1_536), (256, 1, 256), (256, 10, 2_560), (256, 24, 2_560), (256, 100, 6_400),
])  # fmt: skip
def test_beyond_ten_results_each_takes_no_more_than_the_usual_candidates(refine, k, expected):
    assert SearchParams(8, refine).candidates(k) == expected


def test_a_search_that_names_no_cells_looks_into_more_until_it_has_enough(vectors, queries):
    engine = Engine.build(vectors, "IVF256,Flat")
    assert (engine.search(queries, 200, SearchParams(0, 1)).indices >= 0).all()
