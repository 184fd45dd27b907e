"""Tip-Adapter-F: a cache of the training pictures whose keys are fine-tuned, added to the answers of texts.

    model = fit(views, labels, texts, scale=100.0, seed=0)      # one attribute
    model = model.tuned(pictures, labels)                       # alpha and beta, on tune
    model.scores(pictures, texts)                               # [n, v]

A picture's score of a value is scale x cosine with the value's text + alpha x the sum over cached pictures of that
value of exp(-beta (1 - affinity)), where an affinity is the product of the picture with the cached picture's key. Keys
begin as the mean of a picture's augmented views and are trained by cross-entropy over the same views; alpha and beta
are 1 and 5.5 meanwhile. Vectors in, scores out: nothing here encodes a picture.

As in the paper's code: 20 epochs, batches of 256, AdamW at 1e-3 with eps 1e-4, cosine to zero; keys are not normalised
again; alpha and beta from a grid up to 3 and 7. Unlike it: views are drawn once and taken in turn rather than drawn
anew in every epoch, and the keys of the last epoch stand, where the paper's code takes the epoch that is best on test.
Source: Zhang et al., "Tip-Adapter: training-free adaption of CLIP for few-shot classification", ECCV 2022, eq. 3 to 6.
"""

from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipadapt.recognition.accuracy import balanced_accuracy

ALPHA, BETA = 1.0, 5.5
"""What keys are fine-tuned with, and what stands where there is nothing to choose by."""
ALPHAS = np.linspace(0.1, 3.0, 20)
BETAS = np.linspace(0.1, 7.0, 20)
EPOCHS, BATCH, RATE, EPS = 20, 256, 1e-3, 1e-4


class TipAdapter(NamedTuple):
    """The fitted cache of one attribute."""

    keys: Float[np.ndarray, "k d"]
    values: Float[np.ndarray, "k v"]
    """One-hot: the value of each cached picture."""
    scale: float
    alpha: float = ALPHA
    beta: float = BETA

    def scores(self, pictures: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "v d"]) -> Float[np.ndarray, "n v"]:
        """Of unit vectors, with every value."""
        affinity = pictures.astype(np.float64) @ self.keys.T
        return self.scale * pictures @ texts.T + self.alpha * np.exp(-self.beta * (1.0 - affinity)) @ self.values

    def tuned(
        self, pictures: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], texts: Float[np.ndarray, "v d"]
    ) -> Self:
        """With the alpha and beta of the grid that recognise best in balanced accuracy; of equal ones those nearest to
        what the keys were trained with. As it is where there are no labels.
        """
        if not len(labels):
            return self
        pairs = [(float(alpha), float(beta)) for alpha in ALPHAS for beta in BETAS] + [(ALPHA, BETA)]

        def rank(pair: tuple[float, float]) -> tuple[float, float]:
            chosen = self._replace(alpha=pair[0], beta=pair[1]).scores(pictures, texts).argmax(axis=1)
            far = abs(np.log(pair[0] / ALPHA)) + abs(np.log(pair[1] / BETA))
            return balanced_accuracy(chosen == labels, labels), -far

        alpha, beta = max(pairs, key=rank)
        return self._replace(alpha=alpha, beta=beta)


def fit(
    views: Float[np.ndarray, "views n d"],
    labels: Int[np.ndarray, " n"],
    texts: Float[np.ndarray, "v d"],
    *,
    scale: float,
    seed: int,
) -> TipAdapter:
    """Fine-tunes the keys.

    Args:
        views: unit vectors of augmented views of each training picture.
        labels: rows of the values.
        texts: unit vectors of the values' texts.
        scale: factor on the cosines with texts; CLIP's own.
        seed: of the order of pictures.
    """
    shown = torch.from_numpy(np.ascontiguousarray(views, np.float32))
    target = torch.from_numpy(labels)
    values = F.one_hot(target, len(texts)).float()
    words = scale * torch.from_numpy(np.asarray(texts, np.float32)).T
    keys = F.normalize(shown.mean(0), dim=-1).clone().requires_grad_()
    steps = EPOCHS * -(-len(target) // BATCH)
    optimizer = torch.optim.AdamW([keys], lr=RATE, eps=EPS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    draws = torch.Generator().manual_seed(seed)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(target), generator=draws).split(BATCH):
            loss = F.cross_entropy(_scores(shown[epoch % len(shown)][batch], keys, values, words), target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return TipAdapter(keys.detach().double().numpy(), values.double().numpy(), scale)


def _scores(pictures: Tensor, keys: Tensor, values: Tensor, words: Tensor) -> Tensor:
    return pictures @ words + ALPHA * torch.exp(-BETA * (1.0 - pictures @ keys.T)) @ values
