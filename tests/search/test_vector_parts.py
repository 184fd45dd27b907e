"""Parts as one array: every way of taking rows gives what the array in memory gives."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.errors import StoreError
from clipadapt.search.engine import Engine, SearchParams
from clipadapt.search.mapped import FileRows
from clipadapt.search.topk import topk
from clipadapt.search.vector_parts import Form, Joined, PartFile, encoded, read_part, unit
from clipadapt.search.vectors import first

HALF = 2**-11
"""How far float16 takes a unit vector at most: the relative error of rounding to 11 bits."""


def written(folder, vectors: np.ndarray, sizes: list[int], form: Form) -> Joined:
    files, start = [], 0
    for number, size in enumerate(sizes):
        file = folder / f"{number}{form.suffix}"
        ids = [f"i{row}" for row in range(start, start + size)]
        file.write_bytes(encoded(vectors[start : start + size], ids, form))
        files.append(PartFile(file, size))
        start += size
    return Joined(files, vectors.shape[1], halves=form.dtype == "float16")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ["npy", "parquet"])
def test_rows_are_those_of_one_array(tmp_path_factory, cloud, name, data, sizes):
    rows = sum(sizes)
    whole = cloud(max(rows, 1), 8)[:rows]
    joined = written(tmp_path_factory.mktemp("parts"), whole, sizes, Form(name))
    assert joined.shape == whole.shape and len(joined) == rows and joined.dtype == whole.dtype
    np.testing.assert_array_equal(np.asarray(joined), whole)
    cut = data.draw(st.slices(rows))
    np.testing.assert_array_equal(joined[cut], whole[cut])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    np.testing.assert_array_equal(joined[mask], whole[mask])
    some = data.draw(st.lists(st.integers(-rows, rows - 1), max_size=9)) if rows else []
    np.testing.assert_array_equal(joined[np.array(some, np.int64)], whole[np.array(some, np.int64)])
    if some:
        np.testing.assert_array_equal(joined[some[0]], whole[some[0]])
        np.testing.assert_array_equal(joined.first(3)[some], first(whole, 3)[some])
    for wrong in (rows, -rows - 1):
        with pytest.raises(IndexError):
            joined[[wrong]]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 5), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ["npy", "parquet"])
def test_halves_that_are_kept_are_those_of_one_array(tmp_path_factory, cloud, name, data, sizes):
    rows, folder = sum(sizes), tmp_path_factory.mktemp("parts")
    whole = cloud(max(rows, 1), 8)[:rows].astype(np.float16)
    joined = written(folder, whole, sizes, Form(name, "float16"))
    assert joined.dtype == joined.first(3).dtype == np.float32
    kept = joined.kept()
    assert kept.dtype == whole.dtype and kept.shape == whole.shape
    cut = data.draw(st.slices(rows))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    some = np.array(data.draw(st.lists(st.integers(-rows, rows - 1), max_size=9)) if rows else [], np.int64)
    for taken in (cut, mask, some):
        found = kept[taken]
        assert found.dtype == np.float16 and found.tobytes() == whole[taken].tobytes()
    assert np.asarray(kept).tobytes() == whole.tobytes()
    for one in (joined.first(3), kept.first(3), kept.first(3).kept()):
        assert one.dtype == np.float32, "a second rounding is left to whoever names it"
        np.testing.assert_array_equal(one[:], first(whole, 3))
    single = kept.in_one(folder / "new")
    assert single.dtype == np.float16 and np.asarray(single).tobytes() == whole.tobytes()
    assert not list(folder.glob("new/*"))


def test_one_part_of_numpy_is_the_one_file_and_of_others_a_copy_without_a_name(tmp_path, cloud, monkeypatch):
    whole = cloud(12, 4)
    for form, sizes in ((Form("npy", "float16"), [0, 12]), (Form("npy"), [12])):
        found = written(tmp_path, whole, sizes, form).kept().in_one(tmp_path / "none")
        assert isinstance(found, np.memmap) and str(found.filename).endswith(f"/{len(sizes) - 1}.npy")
    for name in "abc":
        (tmp_path / name).mkdir()
    copied = [
        written(tmp_path / "a", whole, [12], Form("npy", "float16")),
        written(tmp_path / "b", whole, [12], Form("npy")).first(3),
        written(tmp_path / "c", whole, [7, 5], Form("parquet", "float16")).kept(),
    ]
    for joined in copied:
        found = joined.in_one(tmp_path / "other")
        assert isinstance(found, np.memmap) and found.mode == "r" and found.filename is None
        np.testing.assert_array_equal(found, joined[:])
        with monkeypatch.context() as patched:
            patched.setattr("clipadapt.search.mapped.MOST", 0)
            large = joined.in_one(tmp_path / "other")
        assert isinstance(large, FileRows) or not Path("/proc/self/maps").exists()
        np.testing.assert_array_equal(large[:], joined[:])
    assert not (tmp_path / "none").exists() and not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("name", ["npy", "parquet"])
def test_parts_of_both_precisions_come_as_float32_and_are_not_kept_as_halves(tmp_path, cloud, name):
    whole = cloud(8, 4)
    joined = written(tmp_path, whole, [4, 4], Form(name, "float16"))
    form = Form(name)
    (tmp_path / f"1{form.suffix}").write_bytes(encoded(whole[4:], list("abcd"), form))
    np.testing.assert_allclose(joined[:4], whole[:4], atol=HALF)
    np.testing.assert_array_equal(joined[4:], whole[4:])
    kept = joined.kept()
    assert kept[:4].tobytes() == whole[:4].astype(np.float16).tobytes()
    with pytest.raises(StoreError, match=rf"1\{form.suffix}: vectors of float32, not float16 as its folder says"):
        kept[3:5]


@pytest.mark.parametrize("name", ["npy", "parquet"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 300), scale=st.floats(-4, 4))
def test_float16_takes_a_unit_vector_no_further_than_its_rounding(tmp_path_factory, name, seed, dim, scale):
    rng = np.random.default_rng(seed)
    whole = unit(rng.standard_normal((6, dim)) * np.exp(scale * rng.standard_normal((6, dim)))).astype(np.float32)
    joined = written(tmp_path_factory.mktemp("parts"), whole, [2, 4], Form(name, "float16"))
    assert np.linalg.norm(joined[:].astype(np.float64) - whole, axis=1).max() <= HALF + 1e-6
    np.testing.assert_allclose(np.linalg.norm(joined[:], axis=1), 1, atol=1e-6)


def test_float16_costs_no_recall_to_speak_of(tmp_path, cloud):
    whole = cloud(3_000, 64)
    joined = written(tmp_path, whole, [1_000, 1_000, 1_000], Form("npy", "float16"))
    exact, found = topk(whole[:200], whole, 10), topk(whole[:200], joined, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.indices, found.indices, strict=True)])
    assert recall >= 0.99
    assert np.abs(np.sort(exact.scores) - np.sort(found.scores)).max() <= HALF
    assert np.abs(exact.scores - found.scores).mean() < 5e-5


@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQ8,RFlat", "HNSW16,Flat"])
def test_an_engine_of_parts_is_that_of_one_array(tmp_path, cloud, factory):
    whole = cloud(2_000, 32)
    joined = written(tmp_path, whole, [900, 0, 1_100], Form("parquet"))
    engine, expected = Engine.build(joined, factory), Engine.build(whole, factory)
    np.testing.assert_array_equal(engine.vectors(np.arange(2_000)), whole)
    found, other = (one.search(whole[:50], 5, SearchParams(4, 4)) for one in (engine, expected))
    np.testing.assert_array_equal(found.indices, other.indices)


def test_one_part_is_in_memory_at_a_time(tmp_path, cloud, monkeypatch):
    read: list[str] = []

    def noted(path):
        read.append(path.name)
        return read_part(path)

    joined = written(tmp_path, cloud(12, 4), [4, 4, 4], Form("parquet"))
    monkeypatch.setattr("clipadapt.search.vector_parts.read_part", noted)
    for start in range(0, 12, 2):
        joined[start : start + 2]
    assert read == ["0.parquet", "1.parquet", "2.parquet"]
    joined[np.array([11, 0, 5, 1])]
    assert read[3:] == ["0.parquet", "1.parquet", "2.parquet"], "each part once, whatever the order"


@pytest.mark.parametrize("form", [Form("npy"), Form("parquet")], ids="-".join)
def test_a_part_that_is_gone_or_of_other_rows_is_named(tmp_path, cloud, form):
    joined = written(tmp_path, cloud(8, 4), [4, 4], form)
    (tmp_path / f"0{form.suffix}").write_bytes(encoded(cloud(3, 4), ["a", "b", "c"], form))
    with pytest.raises(StoreError, match=rf"0\{form.suffix}: vectors of shape \(3, 4\), not \(4, 4\)"):
        joined[:2]
    (tmp_path / f"1{form.suffix}").write_bytes(b"nothing")
    with pytest.raises(StoreError, match=rf"1\{form.suffix}: cannot be read"):
        joined[5]
