"""Staying close to the base: what it knew about everything the catalogue does not label is worth keeping.

    keep_loss      a picture's ranking of texts stays the base's; vectors may turn as long as comparisons survive
    anchor_loss    vectors themselves stay the base's; stricter, and an index of the base stays nearly valid

Costs the base's vectors of the batch: computed once when pictures are not augmented, else a second forward pass with
the adapters off. Knows nothing about how those were obtained.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clipadapt.losses.terms import Scale, Terms, exact, widen


def keep_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    base_image: Float[Tensor, "b e"],
    base_text: Float[Tensor, "t e"],
    scale: Scale,
    base_scale: Scale | None = None,
) -> Terms:
    """Kullback-Leibler divergence, base from adapted, of each picture's distribution over a set of texts.

    Both distributions are softmax(scale * cosine); `base_scale` None uses `scale` for both. The base's side gets no
    gradient. `items` is the number of pictures; zero exactly when all similarities differ by a constant per picture.

    Requires: at least two texts, and texts that span what is to be kept: words that the catalogue's labels do not
    cover (categories, everyday things), since captions alone would hold back just what training should change.
    A low scale keeps the whole ranking, the base's own keeps mostly its first choice.
    Prefer anchor_loss on text vectors when the texts at serving time are known and few.
    Source: Li & Hoiem, "Learning without Forgetting" (2016), over similarities as in Zheng et al.,
    "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models" (2023).

    Raises:
        ValueError: fewer than two texts, over which every distribution is the same.
    """
    if len(text) < 2:
        raise ValueError(f"a distribution over {len(text)} text(s) says nothing; hand in at least two")
    with exact(image):
        adapted = (scale * (widen(image) @ widen(text).T)).log_softmax(1)
        with torch.no_grad():
            factor = scale if base_scale is None else base_scale
            base = (factor * (widen(base_image) @ widen(base_text).T)).log_softmax(1).to(adapted.dtype)
        return Terms((base.exp() * (base - adapted)).sum(), adapted.new_tensor(float(len(image))))


def anchor_loss(vectors: Float[Tensor, "n d"], base_vectors: Float[Tensor, "n d"]) -> Terms:
    """1 - cosine between each vector and the base's vector of the same picture or text; `items` is their number.

    Requires: unit vectors of one space, so the same base and the same projection.
    Prefer keep_loss when the space may turn as a whole, which costs nothing in recognition or search.
    Source: as the vectors' own form of the feature distillation in Zheng et al. (2023).
    """
    with exact(vectors):
        cosines = (widen(vectors) * widen(base_vectors).detach()).sum(1)
        return Terms((1 - cosines).sum(), cosines.new_tensor(float(len(cosines))))
