"""Pairs of a global batch are those of its micro-batches; targets mix by the shares that pictures mix by."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from step_bench import mixed

from clipadapt.config import Augment
from clipadapt.training import mixing


def drawn(items: Any, sizes: list[int], how: str, alpha: float, seed: int = 0, side: int = 8) -> mixing.Mix:
    options = Augment.model_validate({how: alpha, "force": ["cutmix"]})
    mix = mixing.draw(np.asarray(items), sizes, options, side=side, seed=seed, step=4)
    assert mix is not None
    return mix


def test_off_means_none():
    assert mixing.draw(np.arange(4), [2, 2], Augment(), side=8, seed=0, step=0) is None


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_partners_stay_in_their_micro_batch(how: str):
    mix = drawn(np.arange(9), [4, 3, 2], how, 0.4)
    assert mix.partner.tolist() == [1, 0, 3, 2, 5, 4, 6, 8, 7]
    assert mix.share[6] == 1.0
    if mix.patch is not None:
        assert mix.patch[6].tolist() == [0, 0, 0, 0]


@given(st.integers(1, 17), st.floats(0.1, 4.0), st.integers(0, 99), st.sampled_from(["mixup", "cutmix"]))
def test_each_pair_has_its_own_draw(count: int, alpha: float, seed: int, how: str):
    items = np.random.default_rng(seed).permutation(100)[:count]
    pixels = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    mix = drawn(items, [count], how, alpha, seed)
    assert torch.allclose(mix.pixels(pixels, 0), mixed(pixels, mix))
    kept = count - count % 2
    shares = mix.share[:kept].view(-1, 2)
    assert torch.equal(shares[:, 0], shares[:, 1])
    assert bool((mix.share >= (0.5 if how == "mixup" else 0.0)).all()) and bool((mix.share <= 1.0).all())
    pieces = [drawn(items[at : at + 2], [len(items[at : at + 2])], how, alpha, seed) for at in range(0, count, 2)]
    assert torch.equal(mix.share, torch.cat([piece.share for piece in pieces]))


@given(st.integers(0, 99), st.floats(0.2, 4.0), st.integers(2, 40))
def test_the_share_of_a_pasted_patch_is_its_area(seed: int, alpha: float, side: int):
    mix = drawn(np.arange(6), [6], "cutmix", alpha, seed, side)
    flat = torch.arange(6.0)[:, None, None, None].expand(6, 1, side, side)
    stayed = (mix.pixels(flat, 0) == flat).float().mean((1, 2, 3))
    assert torch.allclose(stayed, mix.share, atol=1e-6)


def test_pieces_are_mixed_as_the_whole_is():
    pixels = torch.randn(6, 3, 8, 8)
    for how in ("mixup", "cutmix"):
        mix = drawn([5, 2, 9, 4, 7, 1], [4, 2], how, 1.0)
        assert torch.equal(torch.cat([mix.pixels(pixels[:4], 0), mix.pixels(pixels[4:], 4)]), mix.pixels(pixels, 0))


def test_targets_blend_as_pictures_do():
    mix = mixing.Mix(torch.tensor([0.75, 0.5]), torch.tensor([1, 0]))
    assert mix.blend(torch.eye(2)).tolist() == [[0.75, 0.25], [0.5, 0.5]]
