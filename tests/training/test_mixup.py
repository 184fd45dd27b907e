"""MixUp's shares, partners and blends."""

import numpy as np
import torch

from clipadapt.training import mixup


def test_off_means_none():
    assert mixup.draw(np.arange(4), alpha=0.0, block=2, seed=0, step=0) is None


def test_partners_stay_in_their_block_and_differ_from_oneself():
    mix = mixup.draw(np.arange(10), alpha=0.4, block=4, seed=0, step=0)
    assert mix is not None
    assert mix.partner.tolist() == [1, 2, 3, 0, 5, 6, 7, 4, 9, 8]
    assert bool((mix.share >= 0.5).all()) and bool((mix.share <= 1).all())


def test_shares_are_keyed_by_item_and_step():
    one = mixup.draw(np.array([3, 5, 7]), alpha=0.4, block=4, seed=0, step=2)
    other = mixup.draw(np.array([7, 3]), alpha=0.4, block=2, seed=0, step=2)
    assert one is not None and other is not None
    assert one.share[[2, 0]].tolist() == other.share.tolist()
    later = mixup.draw(np.array([3, 5, 7]), alpha=0.4, block=4, seed=0, step=3)
    assert later is not None and later.share.tolist() != one.share.tolist()


def test_pieces_blend_like_the_whole():
    pixels = torch.randn(6, 3, 2, 2)
    mix = mixup.draw(np.arange(6), alpha=1.0, block=2, seed=0, step=0)
    assert mix is not None
    by_hand = torch.stack([mix.share[i] * pixels[i] + (1 - mix.share[i]) * pixels[i ^ 1] for i in range(6)])
    torch.testing.assert_close(mix.pixels(pixels, 0), by_hand)
    torch.testing.assert_close(torch.cat([mix.pixels(pixels[at : at + 2], at) for at in (0, 2, 4)]), by_hand)


def test_targets_blend_as_pictures_do():
    mix = mixup.Mix(torch.tensor([0.75, 0.5]), torch.tensor([1, 0]))
    assert mix.blend(torch.eye(2)).tolist() == [[0.75, 0.25], [0.5, 0.5]]
