"""Keyed randomness: same key, same draw; any difference in the key, another stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.keyed import generator, integer

parts = st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=4).map(tuple)


@given(parts, parts)
def test_equal_draws_exactly_for_equal_keys(one, other):
    same = tuple((type(p), p) for p in one) == tuple((type(p), p) for p in other)
    assert (integer(*one) == integer(*other)) == same
    assert (generator(*one).integers(2**62) == generator(*other).integers(2**62)) == same


def test_numpy_integers_are_integers():
    assert integer(np.int64(3), np.uint8(7)) == integer(3, 7)


def test_draws_stay_as_they_were_published():
    """A change here changes every run's captions, crops and splits: it must be wanted, and noted in the changelog."""
    assert integer(0, "split", "product 1") == 0x1D3C40697AD2373
    assert generator(0, 1, 2).integers(1_000_000, size=3).tolist() == [266967, 278902, 884902]


def test_neighbouring_keys_are_uniform_and_unrelated():
    draws = np.array([generator(1, epoch, item).random() for epoch in range(100) for item in range(100)])
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert abs(draws.mean() - 0.5) < 0.01 and counts.min() > 900
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.03


def test_refuses_what_is_no_key():
    with pytest.raises(ValueError, match="at least one part"):
        generator()
    with pytest.raises(TypeError):
        integer(0.5)  # pyright: ignore[reportArgumentType]
