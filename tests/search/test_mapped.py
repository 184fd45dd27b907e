import mmap
from pathlib import Path

import numpy as np
import pytest

from clipadapt.search.mapped import blocks, gathered, release


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
