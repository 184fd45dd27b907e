import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.search.topk import topk


def slow(queries, items, k, allowed=None, exclude=None):
    """Every score, sorted, one query at a time."""
    found = []
    for place, query in enumerate(queries):
        scores = items.astype(np.float32) @ query
        rows = [
            row
            for row in range(len(items))
            if (allowed is None or allowed[row]) and (exclude is None or row != exclude[place])
        ]
        found.append(sorted(rows, key=lambda row, scores=scores: (-scores[row], row))[:k])
    return found


# Whole numbers make inner products exact, so that ties are ties in whichever order they are summed.
@given(
    st.integers(0, 60), st.integers(1, 5), st.integers(1, 70), st.integers(1, 40), st.booleans(), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_equals_sorting_every_score(count, number, k, block, restricted, own, seed):
    rng = np.random.default_rng(seed)
    items = rng.integers(-2, 3, (count, 4)).astype(np.float32)
    queries = rng.integers(-2, 3, (number, 4)).astype(np.float32)
    allowed = rng.random(count) < 0.5 if restricted else None
    exclude = rng.integers(-1, max(count, 1), number) if own else None
    found = topk(queries, items, k, allowed=allowed, exclude=exclude, block=block)
    assert found.indices.shape == (number, k)
    for place, expected in enumerate(slow(queries, items, k, allowed, exclude)):
        got = found.indices[place][found.indices[place] >= 0].tolist()
        scores = found.scores[place]
        assert sorted(scores[: len(got)], reverse=True) == scores[: len(got)].tolist()
        assert [float(items[row] @ queries[place]) for row in got] == [
            float(items[row] @ queries[place]) for row in expected
        ]
        assert np.isneginf(scores[len(got) :]).all()
        assert set(got) <= (set(np.flatnonzero(allowed)) if allowed is not None else set(range(count)))
        assert exclude is None or exclude[place] not in got


def test_lower_row_first_among_equals():
    items = np.ones((6, 2), np.float32)
    assert topk(np.ones((1, 2), np.float32), items, 6, block=2).indices.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_reads_a_mapped_file_of_half_floats(tmp_path):
    items = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float16)
    np.save(tmp_path / "items.npy", items)
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    queries = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    assert topk(queries, mapped, 5, block=16).indices.tolist() == slow(queries, items, 5)


@pytest.mark.parametrize("k", [0, -1])
def test_refuses_to_find_nothing(k):
    with pytest.raises(ValueError, match="k="):
        topk(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), k)
