import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipadapt.errors import StoreError, UsageError
from clipadapt.search import recall
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.items import Items
from clipadapt.search.meta import Measured, Meta, Target
from clipadapt.search.recall import Point, choose_point, curve, measure, picture_queries, with_truth
from clipadapt.search.topk import topk
from clipadapt.search.tune import candidates, choose, choose_params, remeasure, sample_texts


@pytest.fixture(scope="module")
def vectors(cloud):
    return cloud(4_000)


@pytest.fixture(scope="module")
def engine(vectors):
    return Engine.build(vectors, "IVF64,SQ8,RFlat")


def point(recall, low, p50, probe=1):
    return Point("IVF64,Flat", "picture", probe, 1, recall, low, p50, p50)


def test_recall_is_the_share_of_the_exact_ten_that_was_found(engine, vectors, cloud):
    queries = cloud(50, seed=8)
    asked = with_truth(engine, "text", queries)
    measured = measure(engine, "IVF64,SQ8,RFlat", asked, SearchParams(2, 4))
    found = engine.search(queries, 10, SearchParams(2, 4)).indices
    truth = topk(queries, vectors, 10).indices
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]
    assert measured.recall == pytest.approx(np.mean(shares))
    assert 0 < measured.low < measured.recall < 1
    assert 0 < measured.p50_ms <= measured.p99_ms


def test_a_query_from_the_index_does_not_count_itself(engine):
    asked = picture_queries(engine, np.arange(engine.count), 30, seed=0)
    assert asked.self_rows is not None
    assert asked.truth.shape == (30, 10)
    assert not (asked.truth == asked.self_rows[:, None]).any()
    assert measure(engine, "", asked, SearchParams(64, 4)).recall == 1


def test_a_curve_rises_to_its_target_and_looks_closer_around_it(cloud):
    engine = Engine.build(cloud(4_000, clusters=1), "IVF64,SQ8,RFlat")  # neighbours lie in many cells
    points = curve(engine, "f", picture_queries(engine, np.arange(engine.count), 100, seed=0), 0.95)
    assert [one.probe for one in points] == sorted({one.probe for one in points})
    assert points[-1].recall > points[0].recall and points[-1].low >= 0.95
    enough = min(one.probe for one in points if one.low >= 0.95)
    assert enough - 1 <= 1.1 * max(one.probe for one in points if one.low < 0.95)


@pytest.fixture(scope="module")
def coarse(vectors):
    return Engine.build(vectors, "IVF64,PQ8x4fs,RFlat")


@given(half=st.floats(0.1, 120), lost=st.floats(0, 12), cell=st.floats(0.01, 1), candidate=st.floats(0.0001, 0.5))
@example(half=5, lost=3, cell=0.1, candidate=0.01)  # 64 candidates never reach it, 256 do
@example(half=5, lost=12, cell=0.1, candidate=0.01)  # none do
@example(half=5, lost=0.4, cell=1, candidate=0.001)  # 256 spare cells
@example(half=5, lost=0.1, cell=0.01, candidate=0.5)  # 4 are quickest
def test_a_curve_misses_nothing_quicker_on_the_whole_grid(coarse, half, lost, cell, candidate):
    """Beside measuring every number of cells with every number of candidates, where figures follow a formula."""
    queries = picture_queries(coarse, np.arange(coarse.count), 3, seed=0)
    measured = []

    def known(engine, factory, queries, params):
        measured.append(params)
        found = params.probe / (params.probe + half) * (1 + half / 64) * max(0.0, 1 - lost / params.refine)
        took = cell * params.probe + candidate * params.refine
        return Point("f", "text", params.probe, params.refine, found, found, took, 0)

    grid = itertools.product(range(1, 65), (4, 16, 64, 256))
    every = [known(coarse, "f", queries, SearchParams(*one)) for one in grid]
    measured.clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recall, "measure", known)
        points = curve(coarse, "f", queries, 0.97)
    assert len(measured) == len(set(measured)), "nothing is measured twice"
    assert points == sorted(points, key=lambda one: (one.refine, one.probe))
    best, most = choose_point(points, 0.97), max(one.low for one in every)
    if most >= 0.971:  # a curve ends where twice as many cells find .0005 more
        quickest = choose_point(every, 0.971)
        assert best.low >= 0.97
        assert best.p50_ms <= quickest.p50_ms + 0.1 * cell * quickest.probe + cell + 1e-9, (
            "a tenth of its cells, or one"
        )
    elif most < 0.97:
        assert best.low > most - 0.001


def test_settling_takes_the_quickest_that_is_surely_good_enough():
    points = [point(0.5, 0.4, 1), point(0.995, 0.985, 2), point(0.996, 0.991, 5), point(1.0, 0.999, 4)]
    assert choose_point(points, 0.99).p50_ms == 4
    assert choose_point(points[:2], 0.99).recall == 0.995


def test_texts_get_parameters_of_their_own(engine, cloud):
    far = cloud(200, seed=3)
    far[:, :8] *= -1  # off the cloud that the cells were trained on
    tuned = choose_params(engine, "IVF64,SQ8,RFlat", Target(recall=0.97), far)
    assert tuned.search_params["text"].probe > tuned.search_params["picture"].probe
    assert {one.kind for one in tuned.points} == {"picture", "text"}
    assert tuned.measured["text"].low >= 0.97
    chosen = tuned.chosen("text")
    assert chosen is not None
    assert chosen.recall == tuned.measured["text"].recall


def test_without_texts_words_are_searched_harder_and_nothing_is_claimed(engine):
    tuned = choose_params(engine, "IVF64,SQ8,RFlat", Target(recall=0.9), np.empty((0, 32), np.float32))
    assert "text" not in tuned.measured
    assert tuned.search_params["text"].probe == 4 * tuned.search_params["picture"].probe


def test_measuring_again_sees_what_was_lost(engine):
    search_params = {"picture": SearchParams(1, 4), "text": SearchParams(1, 4)}
    none = np.empty((0, 32), np.float32)
    assert remeasure(engine, "f", search_params, none, np.arange(engine.count))["picture"].recall < 0.95  # pyright: ignore[reportArgumentType]
    assert remeasure(engine, "f", search_params, none, np.arange(0)) == {}  # pyright: ignore[reportArgumentType]


def test_choosing_keeps_to_memory(vectors):
    none = np.empty((0, 32), np.float32)
    factories = ["Flat", "IVF64,Flat", "IVF64,SQ8,RFlat"]
    best, points = choose(vectors, Target(recall=0.95, memory_mb=0.4), none, factories)
    assert best.factory == "IVF64,SQ8,RFlat"
    assert best.memory < 0.4e6 < vectors.nbytes
    assert {one.factory for one in points} == set(factories)


def test_a_target_out_of_reach_says_how_far(vectors):
    with pytest.raises(
        UsageError, match=r"(?s)no factory reaches the target.*IVF64,SQ8,RFlat: 0\.\d MB in memory over 0\.0"
    ):
        choose(vectors, Target(memory_mb=0.01), np.empty((0, 32), np.float32), ["IVF64,SQ8,RFlat"])


@pytest.mark.parametrize(("count", "dim"), [(0, 8), (100, 7), (5_000, 512), (30_000, 257), (1_000_000, 512)])
def test_candidates_can_all_be_built(count, dim):
    from clipadapt.search.factory import check_factory

    for factory in candidates(count, dim):
        check_factory(factory, count, dim)


def test_texts_are_made_of_what_items_have():
    items = Items.of(
        pa.table({
            "id": [str(row) for row in range(40)], "name": [f"item {row}" for row in range(40)],
            "colour": ["red", "blue"] * 20, "Pattern": ["Striped", "", "Solid", ""] * 10, "price": ["5", "6"] * 20,
        })
    )  # fmt: skip
    texts = sample_texts(items, 30)
    assert set(texts) <= {"red", "blue", "Striped", "Solid", "red Striped", "red Solid"}
    assert len(texts) == len(set(texts)) >= 4
    assert texts == sample_texts(items, 30)
    assert sample_texts(Items.of(pa.table({"id": ["a", "b"]})), 10) == []


def test_index_json_reads_as_it_was_written(tmp_path):
    meta = Meta(
        image_space="s", factory="IVF64,Flat", dim=8, trained_on=100, search_params={"picture": SearchParams(3, 1)},
        measured={"picture": Measured(recall=0.97, low=0.95, queries=9, vectors=100)}, curve=[point(0.97, 0.95, 1.0)],
        memory_bytes=7,
    )  # fmt: skip
    (tmp_path / "index.json").write_text(meta.to_json())
    assert Meta.read(tmp_path / "index.json") == meta
    assert json.loads(meta.to_json())["curve"][0]["recall"] == 0.97
    assert meta.rebuild_due(100, 0) == ["recall@10 of picture queries is 0.970, the target is 0.99"]
    assert len(meta.rebuild_due(201, 60)) == 3
    (tmp_path / "index.json").write_text(meta.to_json().replace('"dim": 8', '"dim": "many"'))
    with pytest.raises(StoreError, match="dim: "):
        Meta.read(tmp_path / "index.json")
    with pytest.raises(StoreError, match="cannot be read"):
        Meta.read(tmp_path / "none.json")
