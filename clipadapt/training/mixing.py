"""MixUp and CutMix over a global batch: who is mixed with whom, and the shares that targets mix with.

Neighbours are paired (0 with 1, 2 with 3, ...): the order of an epoch is random, so neighbours are as random as a
permutation. Micro-batches and the shares of processes are even (batches.py sees to it), so that no pair is cut and no
picture travels. Each pair has its own draw, keyed by (seed, step, its items), so every process works out the
pairs of the whole batch, which the loss needs. An odd last item is left as it is. Nothing here knows of losses.
Sources: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018; Yun et al., "CutMix", ICCV 2019.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt import config, keyed


class Mix(NamedTuple):
    """A picture becomes `share` of itself and the rest of its partner: blended, or a patch of it pasted in."""

    share: Float[Tensor, " b"]
    """0.5 to 1 when blended; the share of the area that stays when pasted."""
    partner: Integer[Tensor, " b"]
    """Position in the batch; the item's own where nothing is mixed in."""
    patch: Integer[Tensor, "b 4"] | None = None
    """Left, top, right, bottom in pixels of what comes from the partner; None blends whole pictures."""

    def pixels(self, pixels: Float[Tensor, "m c h w"], start: int) -> Float[Tensor, "m c h w"]:
        """The mix of one whole micro-batch, which begins at position `start` of the batch."""
        here = slice(start, start + len(pixels))
        others = pixels[(self.partner[here] - start).to(pixels.device)]
        if self.patch is None:
            return torch.lerp(others, pixels, self.share[here].to(pixels)[:, None, None, None])
        left, top, right, bottom = self.patch[here].to(pixels.device)[:, :, None].unbind(1)
        across = torch.arange(pixels.shape[3], device=pixels.device)
        down = torch.arange(pixels.shape[2], device=pixels.device)
        rows, columns = (down >= top) & (down < bottom), (across >= left) & (across < right)
        return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], others, pixels)

    def blend(self, shares: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Targets mixed as the pictures are."""
        share = self.share[:, None].to(shares)
        return share * shares + (1 - share) * shares[self.partner.to(shares.device)]

    def to(self, device: torch.device) -> "Mix":
        patch = None if self.patch is None else self.patch.to(device)
        return Mix(self.share.to(device), self.partner.to(device), patch)


def draw(
    items: np.ndarray, sizes: Sequence[int], options: config.Augment, *, side: int, seed: int, step: int
) -> Mix | None:
    """The mix of a batch of `items` that is cut into micro-batches of these sizes; None when options mix nothing.

    Args:
        side: pixels of a picture's side, which CutMix's patches are whole numbers of.
    """
    if not (options.mixup or options.cutmix):
        return None
    count = len(items)
    partner = np.arange(count)
    share = np.ones(count)
    patch = np.zeros((count, 4), dtype=np.int64)
    for first in _pairs(sizes):
        pair = slice(first, first + 2)
        partner[pair] = first + 1, first
        random = keyed.generator(seed, "step", step, "mix", int(items[first]), int(items[first + 1]))
        if options.mixup:
            drawn = random.beta(options.mixup, options.mixup)
            share[pair] = max(drawn, 1.0 - drawn)
        else:
            patch[pair], share[pair] = _patch(random, options.cutmix, side)
    # float32: the precision that a share of pixels or targets deserves, and that every device has.
    told = torch.from_numpy(share).float(), torch.from_numpy(partner)
    return Mix(*told, None if options.mixup else torch.from_numpy(patch))


def _pairs(sizes: Sequence[int]) -> Iterator[int]:
    """Position of the first of each pair."""
    start = 0
    for size in sizes:
        yield from range(start, start + size - 1, 2)
        start += size


def _patch(random: np.random.Generator, alpha: float, side: int) -> tuple[tuple[int, int, int, int], float]:
    """A square around a random place, cut off at the borders, and the share of the area that it leaves."""
    half = 0.5 * side * math.sqrt(random.beta(alpha, alpha))
    across, down = random.uniform(0.0, side, 2)
    left, top, right, bottom = (
        round(min(max(edge, 0.0), side)) for edge in (across - half, down - half, across + half, down + half)
    )
    return (left, top, right, bottom), 1.0 - (right - left) * (bottom - top) / side**2
