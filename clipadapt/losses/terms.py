"""A loss as its sum and the number of items in it, and the precision in which losses are computed.

The mean over a global batch cannot be had by averaging the means of its pieces when some items are masked, for each
piece then counts another number of items. So every loss here returns both numbers and whoever holds all pieces
divides once. Nothing here knows of processes or micro-batches.

    loss = softmax_loss(image, text, scale).mean()                    # one process, one piece
    terms = [attribute_loss(...) for piece in pieces]
    loss = sum(t.total for t in terms) / sum(t.items for t in terms)  # several pieces of one batch
"""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from clipadapt.errors import TrainingError

Scale = Tensor | float
"""The factor on cosines, 1 / temperature: a number, or a scalar tensor that is trained."""


class Terms(NamedTuple):
    """The sum of a loss over the items it counts, and their number; both scalar tensors, `items` without gradient."""

    total: Float[Tensor, ""]
    items: Float[Tensor, ""]

    def mean(self) -> Float[Tensor, ""]:
        """total / items.

        Raises:
            TrainingError: nothing was counted, so there is no mean.
        """
        if not bool(self.items > 0):
            raise TrainingError(
                "a loss counted no item of the batch: every label it needs is unknown; "
                "raise train.batch_size, set train.balance, or drop the attribute that has hardly any labels"
            )
        return self.total / self.items


def widen(vectors: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; float32 and float64 as they are."""
    return vectors.float() if vectors.dtype in (torch.bfloat16, torch.float16) else vectors


def exact(vectors: Tensor) -> AbstractContextManager[object]:
    """Switches autocast off: logits near 100 lose their differences in bfloat16, whose steps there are 0.5."""
    return torch.autocast(vectors.device.type, enabled=False)
