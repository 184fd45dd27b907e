"""Vectors whose first dimensions are vectors by themselves: Matryoshka representations.

    loss = torch.stack([softmax_loss(prefix(image, d), prefix(text, d), scale).mean() for d in (512, 128)]).mean()

Trained so, the first 128 of 512 dimensions recognise and find nearly as well as all of them, and an index that keeps
only those takes a quarter of the memory. Nothing here knows of losses.
Source: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, with equal weights.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def prefix(vectors: Float[Tensor, "*n d"], dim: int) -> Float[Tensor, "*n e"]:
    """The first `dim` dimensions, of unit length again; vectors that have no more come back as they are."""
    return vectors if dim >= vectors.shape[-1] else F.normalize(vectors[..., :dim], dim=-1)
