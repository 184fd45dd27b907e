"""How many answers of a batch are right, as training goes.

Nothing here has a gradient.
"""

import torch
from torch import Tensor

from clipadapt.training.captions import CaptionBatch
from clipadapt.training.labels import Labels

JUDGED = 512
"""Pictures of a batch whose accuracy is measured; more would cost time and tell little."""


class Scores:
    """Counts right answers; the prior is left out, as it is when recognising."""

    def __init__(self, device: torch.device) -> None:
        self._right, self._judged, self._guessed = (torch.zeros((), device=device) for _ in range(3))

    @torch.no_grad()
    def values(self, labels: Labels, items: Tensor, image: Tensor, vectors: Tensor) -> None:
        target = labels.target(items[:JUDGED]).to(image.device)
        if target.ndim > 1:
            return
        best = (image[:JUDGED] @ vectors.T).argmax(1)
        known = target >= 0
        self._right += ((best == target) & known).sum()
        self._judged += known.sum()
        self._guessed += known.sum() / len(vectors)

    @torch.no_grad()
    def captions(self, captions: CaptionBatch, image: Tensor, text: Tensor) -> None:
        positives, _ = captions.pairs(slice(0, min(JUDGED, len(image))), slice(0, len(text)))
        best = (image[:JUDGED] @ text.T).argmax(1, keepdim=True)
        self._right += positives.gather(1, best).sum()
        self._judged += len(positives)
        self._guessed += positives.float().mean(1).sum()

    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._right, self._judged, self._guessed
