import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from clipadapt.search import mapped as module
from clipadapt.search.mapped import FileRows, blocks, gathered, large_on_disk, release, unmapped


@pytest.fixture
def file(tmp_path):
    """A file of 1,000 half-precision vectors, and those."""
    vectors = np.random.default_rng(0).standard_normal((1_000, 8)).astype(np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    return tmp_path / "vectors.npy", vectors


def test_blocks_are_the_whole_in_order_and_single_precision(file):
    mapped = np.load(file[0], mmap_mode="r")
    parts = list(blocks(mapped, 300))
    assert [start for start, _ in parts] == [0, 300, 600, 900]
    assert all(part.dtype == np.float32 for _, part in parts)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), file[1])


def test_some_rows_are_gathered_over_the_blocks_they_lie_in(file, monkeypatch):
    monkeypatch.setattr("clipadapt.search.mapped.BLOCK", 64)
    rows = np.sort(np.random.default_rng(1).permutation(1_000)[:200])
    np.testing.assert_array_equal(gathered(np.load(file[0], mmap_mode="r"), rows), file[1][rows])
    assert gathered(file[1], rows[:0]).shape == (0, 8)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_nothing_is_lost_when_pages_are_let_go_of(file, mode):
    mapped = np.load(file[0], mmap_mode=mode)
    expected = file[1].copy()
    if mode != "r":
        mapped[3] = expected[3] = 7
    release(mapped[2:])
    release(mapped)
    np.testing.assert_array_equal(mapped, expected)
    release(expected)
    np.testing.assert_array_equal(mapped, expected)


def test_what_a_caller_mapped_of_no_file_stays():
    pages = mmap.mmap(-1, 4 * 8 * 1_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    vectors = np.ndarray((1_000, 8), np.float32, buffer=pages)
    vectors[:] = 1
    assert sum(float(part.sum()) for _, part in blocks(vectors, 300)) == 8_000
    np.testing.assert_array_equal(vectors, 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_pages_that_were_read_do_not_stay_with_the_process(tmp_path):
    np.save(tmp_path / "large.npy", np.ones((40_000, 512), np.float16))
    mapped = np.load(tmp_path / "large.npy", mmap_mode="r")
    before = _resident()
    total = sum(float(part.sum()) for _, part in blocks(mapped, 4_096))
    assert total == 40_000 * 512
    assert _resident() - before < 20  # MB, of 41 that were read
    assert mapped[:].sum(dtype=np.float64) == total
    assert _resident() - before > 30


def _resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssFile"))


@pytest.fixture
def rows(file):
    """The vectors of `file`, read from it."""
    return FileRows(file[0], file[0].stat().st_size - file[1].nbytes, file[1].shape, file[1].dtype)


def test_rows_of_a_file_are_those_of_the_array(file, rows):
    rng = np.random.default_rng(2)
    assert len(rows) == 1_000
    for wanted in (np.arange(5), rng.integers(0, 1_000, 300), np.empty(0, int), rng.random(1_000) < 0.1):
        np.testing.assert_array_equal(rows[wanted], file[1][wanted])
    for wanted in (
        slice(3, 700),
        slice(990, 2_000),
        slice(5, 5),
        slice(None),
        slice(0, 1_000, 7),
        slice(None, None, -1),
    ):
        np.testing.assert_array_equal(rows[wanted], file[1][wanted])
    np.testing.assert_array_equal(np.asarray(rows), file[1])
    np.testing.assert_array_equal(np.asarray(rows, np.float32), file[1].astype(np.float32))
    file[0].unlink()
    np.testing.assert_array_equal(rows[:], file[1])


def test_rows_that_a_file_does_not_have_are_refused(file, rows):
    for wanted in ([1_000], [-1]):
        with pytest.raises(IndexError, match=f"rows from {wanted[0]} to {wanted[0]} of 1000"):
            rows[np.array(wanted)]
    os.truncate(file[0], file[0].stat().st_size - 24)  # one row and a half
    np.testing.assert_array_equal(rows[np.array([997])], file[1][[997]])
    for wanted in (np.array([998]), np.array([999]), slice(900, 1_000)):
        with pytest.raises(OSError, match="build the index again"):
            rows[wanted]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_large_file_is_read_and_none_of_it_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 8 << 20)
    content = np.arange(60_000, dtype=np.float32)[:, None] % 7 + np.zeros(512, np.float32)
    np.save(tmp_path / "large.npy", content.astype(np.float16))
    mapped = np.load(tmp_path / "large.npy", mmap_mode="r")
    assert mapped.max() == 6
    before = _resident()
    found = large_on_disk(mapped, tmp_path / "large.npy")
    assert found is not None
    assert _resident() < before - 50  # MB
    places = np.random.default_rng(0).integers(0, 60_000, 2_000)
    np.testing.assert_array_equal(found[places], content[places])
    assert _resident() < before - 50
    assert large_on_disk(mapped[:100], tmp_path / "large.npy") is None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_what_numpy_maps_is_read_where_it_is_large(file, monkeypatch):
    mapped = np.load(file[0], mmap_mode="r")
    assert unmapped(mapped) is mapped, "small"
    monkeypatch.setattr(module, "MOST", 0)
    for part in (mapped, mapped[100:], mapped[100:][7:90]):
        found = unmapped(part)
        assert isinstance(found, FileRows)
        np.testing.assert_array_equal(found[:], part)
    for other in (mapped[:, :2], mapped[::2], np.asarray(file[1]), np.load(file[0], mmap_mode="c")):
        assert unmapped(other) is other
    (file[0].parent / "another").write_bytes(file[0].read_bytes())
    (file[0].parent / "another").rename(file[0])
    assert unmapped(mapped) is mapped, "its name is another file's now"
    file[0].unlink()
    assert unmapped(mapped) is mapped


@pytest.mark.parametrize("mode", ["r+", "c", None])
def test_what_is_not_of_a_file_alone_is_never_let_go_of(file, monkeypatch, mode):
    monkeypatch.setattr(module, "MOST", 0)
    content = np.load(file[0], mmap_mode=mode)
    content[:] = expected = np.arange(8, dtype=np.float16)
    assert large_on_disk(content, file[0]) is None
    np.testing.assert_array_equal(content, np.broadcast_to(expected, content.shape))
