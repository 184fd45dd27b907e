"""MixUp: pictures blended in pairs, and the shares that their targets blend with.

Partners are neighbours within a block of the batch that one process holds at once, so no picture travels between
processes. Shares are keyed by (seed, step, item). Nothing here knows of losses.
Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018), arXiv:1710.09412.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt.keyed import generator


class Mix(NamedTuple):
    """A picture becomes `share` of itself and the rest of its partner."""

    share: Float[Tensor, " b"]
    partner: Integer[Tensor, " b"]
    """Position in the batch."""

    def pixels(self, pixels: Float[Tensor, "m c h w"], start: int) -> Float[Tensor, "m c h w"]:
        """The blend of whole blocks, which begin at position `start` of the batch."""
        here = slice(start, start + len(pixels))
        share = self.share[here].to(pixels)[:, None, None, None]
        return share * pixels + (1 - share) * pixels[(self.partner[here] - start).to(pixels.device)]

    def blend(self, shares: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
        """Targets blended as the pictures are."""
        share = self.share[:, None].to(shares)
        return share * shares + (1 - share) * shares[self.partner.to(shares.device)]

    def to(self, device: torch.device) -> "Mix":
        return Mix(self.share.to(device), self.partner.to(device))


def draw(items: np.ndarray, *, alpha: float, block: int, seed: int, step: int) -> Mix | None:
    """The mix of a batch in blocks of `block` pictures, the last one may be shorter; None when alpha is 0.

    A picture's own share is at least a half, so that its own caption stays the first.
    """
    if alpha == 0.0:
        return None
    own = [generator(seed, "mixup", step, int(item)).beta(alpha, alpha) for item in items]
    at = np.arange(len(items))
    start = at // block * block
    length = np.minimum(start + block, len(items)) - start
    partner = start + (at - start + 1) % length
    return Mix(torch.tensor([max(share, 1 - share) for share in own], dtype=torch.float32), torch.from_numpy(partner))
