"""MixUp over a global batch: who is blended with whom, and the shares that targets blend with.

Pictures are paired by data.augment.mixup within each micro-batch, so none travels between processes; here the same
pairs are worked out for the whole batch, which every process needs for the loss. Nothing here knows of losses.
Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018), arXiv:1710.09412.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt.data.augment import mixup


class Mix(NamedTuple):
    """A picture becomes `share` of itself and the rest of its partner."""

    share: Float[Tensor, " b"]
    partner: Integer[Tensor, " b"]
    """Position in the batch."""

    def pixels(self, pixels: Float[Tensor, "m c h w"], start: int) -> Float[Tensor, "m c h w"]:
        """The blend of one whole micro-batch, which begins at position `start` of the batch."""
        here = slice(start, start + len(pixels))
        share = self.share[here].to(pixels)[:, None, None, None]
        return torch.lerp(pixels[(self.partner[here] - start).to(pixels.device)], pixels, share)

    def blend(self, shares: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Targets blended as the pictures are."""
        share = self.share[:, None].to(shares)
        return share * shares + (1 - share) * shares[self.partner.to(shares.device)]

    def to(self, device: torch.device) -> "Mix":
        return Mix(self.share.to(device), self.partner.to(device))


def draw(items: np.ndarray, sizes: Sequence[int], *, alpha: float, seed: int, step: int) -> Mix | None:
    """The mix of a batch that is cut into micro-batches of these sizes; None when alpha is 0."""
    if alpha == 0.0:
        return None
    shares, partners, start = [], [], 0
    for size in sizes:
        mixed = mixup(torch.empty(size, 1, 0, 0), items[start : start + size], (seed, "step", step), alpha)
        shares.append(mixed.weight)
        partners.append(mixed.partner + start)
        start += size
    return Mix(torch.cat(shares), torch.cat(partners))
