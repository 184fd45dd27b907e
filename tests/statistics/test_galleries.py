import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import ranking

from clipadapt.statistics.galleries import Placed, figures, ranked, reweighed, swapped

WANTED = figures(["precision", "recall_at", "r_precision", "average_precision", "ndcg", "reciprocal_rank"], [1, 3, 10])


def reference(found: np.ndarray, total: int) -> dict:
    row, totals = found[None], np.array([total])
    per_k = {
        "precision": lambda k: ranking.precision_at_k(row, k),
        "recall_at": lambda k: ranking.recall_at_k(row, totals, k),
        "ndcg": lambda k: ranking.ndcg_at_k(row, totals, k),
        "r_precision": lambda _: ranking.r_precision(row, totals),
        "average_precision": lambda _: ranking.average_precision(row, totals),
        "reciprocal_rank": lambda _: ranking.reciprocal_rank(row),
    }
    return {(metric, k): float(per_k[metric](k)[0]) for metric, k in WANTED}


relevance = st.lists(st.booleans(), min_size=1, max_size=40).filter(any)


@given(relevance, st.integers(0, 3))
def test_plain_rankings_have_the_textbook_figures(found: list[bool], below: int):
    row = np.array(found)
    got = ranked(row[None], np.array([row.sum() + below])).measure(WANTED)
    for figure, expected in reference(row, int(row.sum() + below)).items():
        assert got[figure][0] == pytest.approx(expected, abs=1e-12)


@given(relevance)
def test_weights_of_one_change_nothing(found: list[bool]):
    row = np.array(found)
    ones = np.ones((len(row), 2), np.float32)
    got = reweighed(row, ones, np.full(2, float(row.sum())), np.ones(2)).measure(WANTED)
    for figure, expected in reference(row, int(row.sum())).items():
        assert got[figure] == pytest.approx([expected, expected], abs=1e-6)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=25).filter(
        lambda x: any(r for r, _ in x)
    )
)
def test_whole_weights_stand_for_copies(items: list[tuple[bool, int]]):
    relevant = np.array([right for right, _ in items])
    copies = np.array([count for _, count in items])
    total = float(copies[relevant].sum())
    got = reweighed(relevant, copies[:, None].astype(np.float32), np.array([total]), np.ones(1)).measure(WANTED)
    expected = reference(np.repeat(relevant, copies), int(total))
    for metric, k in WANTED:
        if metric != "average_precision":
            assert got[metric, k][0] == pytest.approx(expected[metric, k], abs=1e-5), (metric, k)
    # Copies of one item share the precision of their middle, which is off by the curvature between them alone.
    assert got["average_precision", None][0] == pytest.approx(expected["average_precision", None], abs=0.05)


def test_by_hand():
    found = np.array([[True, False, True, False]])
    got = ranked(found, np.array([2])).measure(WANTED)
    assert got["precision", 3][0] == pytest.approx(2 / 3)
    assert got["average_precision", None][0] == pytest.approx((1 + 2 / 3) / 2)
    assert got["r_precision", None][0] == pytest.approx(0.5)
    assert got["ndcg", 3][0] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))
    assert got["reciprocal_rank", None][0] == 1.0


def test_nothing_relevant_ranked_is_zero():
    got = ranked(np.zeros((2, 5), bool), np.array([3, 1])).measure(WANTED)
    assert all((values == 0).all() for values in got.values())


def test_swapping_nothing_and_everything():
    rng = np.random.default_rng(0)
    first, second = rng.permutation(30), rng.permutation(30)
    relevant = rng.random(30) < 0.3
    swaps = np.stack([np.zeros(30, bool), np.ones(30, bool)], axis=1)
    one, two = swapped(first, second, relevant, int(relevant.sum()), swaps)
    own = [np.sort(ranks[relevant]) for ranks in (first, second)]
    np.testing.assert_array_equal(one.before.T, own)
    np.testing.assert_array_equal(two.before.T, own[::-1])


def test_swapping_one_item_moves_it_alone():
    first, second = np.array([0, 1, 2, 3]), np.array([3, 0, 1, 2])
    swaps = np.array([[True], [False], [False], [False]])  # item 0 takes its rank in the other ranking
    one, _ = swapped(first, second, np.array([True, False, False, False]), 1, swaps)
    # Ranks 3, 1, 2, 3: behind items 1 and 2, and before item 3, for of equal ranks the relevant comes first.
    np.testing.assert_array_equal(one.before, [[2]])


def test_wide_galleries_swap_as_narrow_ones():
    rng = np.random.default_rng(1)
    first, second, relevant = rng.permutation(500), rng.permutation(500), rng.random(500) < 0.1
    swaps = rng.random((500, 20)) < 0.5
    narrow = swapped(first, second, relevant, 50, swaps)[0].before
    wide = swapped(first * 200, second * 200, relevant, 50, swaps)[0].before
    np.testing.assert_array_equal(narrow, wide)


def test_no_relevant_item_in_reach():
    empty = Placed(np.zeros((0, 3)), np.zeros((0, 3)), np.ones(3))
    assert empty.measure([("average_precision", None)])["average_precision", None].tolist() == [0, 0, 0]
