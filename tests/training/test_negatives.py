"""Batches of close and unlike items: every draw once, close ones together, by a slow and obvious oracle."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.training import negatives
from clipadapt.training.negatives import hard_order, label_codes


def slow_order(order: list[int], vectors: np.ndarray, codes: np.ndarray, size: int, kept: int) -> list[int]:
    """One window, item by item."""
    left, found = list(range(len(order))), []
    while left:
        batch = left[: min(kept, size)]
        left = [place for place in left if place not in batch]
        seeds, spent = list(batch), set()
        while len(batch) < size and left and len(spent) < len(seeds):
            for seed in seeds:
                one = order[seed]
                unlike = [
                    place
                    for place in left
                    if any(a >= 0 and b >= 0 and a != b for a, b in zip(codes[one], codes[order[place]], strict=True))
                ]
                if not unlike:
                    spent.add(seed)
                elif len(batch) < size:
                    place = max(unlike, key=lambda place: (float(vectors[one] @ vectors[order[place]]), -place))
                    batch.append(place)
                    left.remove(place)
        batch += left[: size - len(batch)]
        left = [place for place in left if place not in batch]
        found += batch
    return [order[place] for place in found]


@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_it_is_what_the_slow_way_finds(seed: int, size: int, batches: int, share: float):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = random.integers(-1, 3, (9, 2))
    # Copies of an item are equally close; without them no tie has to be broken.
    order = np.resize(random.permutation(9), size * batches) if size * batches <= 9 else random.permutation(9)
    found = hard_order(order, torch.from_numpy(vectors), codes, batch_size=size, share=share)
    assert found.tolist() == slow_order(order.tolist(), vectors, codes, size, max(1, round((1 - share) * size)))


@given(st.integers(0, 99), st.integers(1, 40), st.floats(0, 0.99))
def test_every_draw_stays_once_in_the_window_it_was_in(seed: int, size: int, share: float):
    random = np.random.default_rng(seed)
    vectors = torch.from_numpy(random.normal(size=(30, 4)))
    order = random.integers(0, 30, 3 * size)
    codes = random.integers(-1, 4, (30, 1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(negatives, "WINDOW", 2 * size)
        found = hard_order(order, vectors, codes, batch_size=size, share=share)
    for part in (slice(0, 2 * size), slice(2 * size, None)):
        assert Counter(found[part].tolist()) == Counter(order[part].tolist())


def test_batches_hold_what_is_close_and_unlike():
    """Eight places on a circle, two items each with labels of their own: neighbours meet, twins of a label do not."""
    angle = torch.arange(8.0).repeat_interleave(2) * torch.pi / 4
    vectors = torch.stack([angle.cos(), angle.sin()], dim=1)
    codes = np.arange(16)[:, None] % 2
    order = np.random.default_rng(0).permutation(16)
    found = hard_order(order, vectors, codes, batch_size=2, share=0.5).reshape(-1, 2)
    assert np.array_equal(found[:, 0] // 2, found[:, 1] // 2) and not np.any(codes[found[:, 0]] == codes[found[:, 1]])
    same = hard_order(order, vectors, np.zeros((16, 1), dtype=np.int64), batch_size=2, share=0.5)
    assert np.array_equal(same, order), "with one label there is no negative, and chance decides as before"


def test_codes_are_those_of_what_is_known(configured: Callable[..., Config]):
    catalogue = load_splits(configured().data, 0).train
    codes = label_codes(catalogue)
    for column, attribute in enumerate(catalogue.attributes):
        sets = catalogue.value_sets(attribute.name)
        for one in range(len(sets)):
            assert (codes[one, column] < 0) == (not sets[one])
            assert all((codes[one, column] == codes[two, column]) == (sets[one] == sets[two]) for two in range(one))
