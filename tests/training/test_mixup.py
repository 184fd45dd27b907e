"""MixUp's pairs over a global batch are those of its micro-batches."""

import numpy as np
import torch

from clipadapt.data.augment import mixup as mix_pixels
from clipadapt.training import mixup


def test_off_means_none():
    assert mixup.draw(np.arange(4), [2, 2], alpha=0.0, seed=0, step=0) is None


def test_partners_stay_in_their_micro_batch():
    mix = mixup.draw(np.arange(9), [4, 3, 2], alpha=0.4, seed=0, step=0)
    assert mix is not None
    assert mix.partner.tolist() == [1, 0, 3, 2, 5, 4, 6, 8, 7]
    assert bool((mix.share >= 0.5).all()) and bool((mix.share <= 1).all())
    assert mix.share[6] == 1.0


def test_pieces_blend_like_data_augment_does():
    pixels, items = torch.randn(6, 3, 2, 2), np.array([5, 2, 9, 4, 7, 1])
    mix = mixup.draw(items, [4, 2], alpha=1.0, seed=3, step=8)
    assert mix is not None
    for start, end in ((0, 4), (4, 6)):
        expected = mix_pixels(pixels[start:end], items[start:end], (3, "step", 8), 1.0)
        assert torch.equal(mix.pixels(pixels[start:end], start), expected.pixels)
        assert torch.equal(mix.share[start:end], expected.weight)


def test_targets_blend_as_pictures_do():
    mix = mixup.Mix(torch.tensor([0.75, 0.5]), torch.tensor([1, 0]))
    assert mix.blend(torch.eye(2)).tolist() == [[0.75, 0.25], [0.5, 0.5]]
