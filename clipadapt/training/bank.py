"""The last known vectors of a training set's pictures, which stand beside a batch where values look for their items.

    bank = Bank(vectors, size=16384, seed=0)
    items, vectors = bank.beside(batch_items, step=7)      # of other items than the batch's
    bank.refresh(batch_items, batch_vectors)               # after the step

A batch of a hundred pictures holds no item of a rare value, and few wrong ones; the whole training set holds all. A
vector is as old as the item's last step, at most an epoch, and gets no gradient. Larger sets than `size` are sampled,
keyed by the step. Memory: 4 bytes x dim an item. Nothing here knows of values.
Source: Wang et al., "Cross-batch memory for embedding learning", CVPR 2020, over the whole set.
"""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from clipadapt.keyed import generator


class Bank:
    """A unit vector per item of the training set."""

    def __init__(self, vectors: Float[Tensor, "n d"], *, size: int, seed: int) -> None:
        self.vectors = nn.Parameter(vectors.detach().clone(), requires_grad=False)
        """As a parameter, so that a checkpoint can hold it; nothing trains it."""
        self._size = size
        self._seed = seed

    def beside(self, items: Integer[Tensor, " b"], *, step: int) -> tuple[Integer[Tensor, " m"], Float[Tensor, "m d"]]:
        """Rows of the catalogue that are not in `items`, at most `size` of them, and their vectors."""
        other = torch.ones(len(self.vectors), dtype=torch.bool, device=self.vectors.device)
        other[items] = False
        rows = other.nonzero()[:, 0]
        if len(rows) > self._size:
            some = generator(self._seed, "bank", step).choice(len(rows), self._size, replace=False)
            rows = rows[torch.from_numpy(np.sort(some)).to(rows.device)]
        return rows, self.vectors[rows]

    @torch.no_grad()
    def refresh(self, items: Integer[Tensor, " b"], vectors: Float[Tensor, "b d"]) -> None:
        """Takes the vectors of a step; of an item that was in it twice, the last."""
        last = dict(zip(items.tolist(), range(len(items)), strict=True))
        rows = torch.tensor(list(last), device=items.device)
        self.vectors[rows] = vectors[torch.tensor(list(last.values()), device=vectors.device)].to(self.vectors)
