"""How alike two ranked lists are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.metrics.agreement import overlap, rank_biased_overlap

LISTS = st.lists(st.sampled_from("abcdefghij"), unique=True)


@pytest.mark.parametrize(
    ("first", "second", "k", "share"),
    [
        ("abc", "bad", 3, 2 / 3), ("abc", "bad", 1, 0), ("abc", "ab", 3, 2 / 3), ("ab", "ab", 10, 1), ("", "", 3, 1),
        ("", "a", 3, 0),
    ],
)  # fmt: skip
def test_overlap_by_hand(first, second, k, share):
    assert overlap(list(first), list(second), k) == pytest.approx(share)


def test_rank_biased_overlap_by_hand():
    """Depths 1, 2, 3 agree in 0, 2/2, 2/3; beyond the third place as at the third."""
    p = 0.9
    wanted = (1 - p) / p * (0 * p + 1 * p**2 + 2 / 3 * p**3) + 2 / 3 * p**3
    assert rank_biased_overlap(list("abc"), list("bad")) == pytest.approx(wanted)


@given(LISTS, LISTS)
def test_it_is_symmetric_between_0_and_1(first, second):
    found = rank_biased_overlap(first, second)
    assert found == rank_biased_overlap(second, first) and 0 <= found <= 1
    assert rank_biased_overlap(first, first) == pytest.approx(1)
    if not set(first) & set(second) and (first or second):
        assert found == 0


@given(LISTS.filter(len), st.data())
def test_a_list_agrees_with_its_own_beginning_as_far_as_can_be_known(items, data):
    assert rank_biased_overlap(items, items[: data.draw(st.integers(1, len(items)))]) == pytest.approx(1)


@given(LISTS.filter(len), st.integers(0, 8))
def test_a_difference_further_up_weighs_more(items, place):
    if place + 1 >= len(items):
        return
    upper, lower = list(items), list(items)
    upper[0], lower[place + 1] = "X", "X"
    assert rank_biased_overlap(items, upper) < rank_biased_overlap(items, lower)


def test_lists_of_unequal_length_are_what_the_longest_possible_ones_would_agree_in():
    """Extrapolated: the same as adding places to both that go on agreeing as the lists do, for very long."""
    first, second, p = list("abcd"), list("bacd"), 0.8
    agreement = [0, 1, 1, 1] + [1] * 400
    wanted = (1 - p) * sum(share * p**depth for depth, share in enumerate(agreement))
    assert rank_biased_overlap(first, second, p) == pytest.approx(wanted)


def test_an_item_twice_in_a_list_is_refused():
    with pytest.raises(ValueError, match="twice"):
        rank_biased_overlap(["a", "a"], ["a"])
