"""Pictures against captions: which pairs belong together, judged against everything else in the batch.

    softmax_loss           one caption per picture, and no caption true of another picture of the batch
    multi_positive_loss    captions shared by several pictures, as catalogues have them; unknown pairs left out
    sigmoid_loss           every pair judged alone: multi-label captions, batches of any size

All of them hold the whole picture x caption matrix; large_batch.py has the same values and gradients in tiles. They
compute in float32 or float64 whatever autocast says, and know nothing about towers, processes or attributes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from clipadapt.errors import TrainingError
from clipadapt.losses.terms import Scale, Terms, exact, widen

NO_POSITIVES = (
    "none of the {rows} pictures of a batch belongs to any of its {columns} captions: nothing to learn from; "
    "check that prompts name columns that the catalogue fills, or raise train.batch_size"
)


def softmax_loss(image: Float[Tensor, "b d"], text: Float[Tensor, "b d"], scale: Scale) -> Terms:
    """Cross-entropy of finding picture i's caption among all captions, and the reverse, averaged over both.

    `items` is the number of pictures.

    Requires: unit vectors; row i of both is one pair; captions of a batch differ, for an equal caption is pushed away
    as if it were wrong. Wants large batches (512 and more): few negatives teach little.
    Prefer multi_positive_loss when captions repeat or are true of other pictures too, attribute_loss when the
    question is which value of one attribute a picture has.
    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), fig. 3.

    Raises:
        ValueError: not as many captions as pictures.
    """
    if image.shape != text.shape:
        raise ValueError(f"pictures {tuple(image.shape)} and captions {tuple(text.shape)} must pair up row by row")
    with exact(image):
        logits = scale * (widen(image) @ widen(text).T)
        pairs = torch.arange(len(image), device=image.device)
        total = (
            F.cross_entropy(logits, pairs, reduction="sum") + F.cross_entropy(logits.T, pairs, reduction="sum")
        ) / 2
    return Terms(total, logits.new_tensor(float(len(image))))


def multi_positive_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    scale: Scale,
    positives: Shaped[Tensor, "b t"],
    known: Bool[Tensor, "b t"] | None = None,
) -> Terms:
    """Cross-entropy against a target spread evenly over a query's positives, in both directions.

    A query is a picture (against all captions) or a caption (against all pictures). Each is normalised by its own
    number of positives, so that a frequent caption weighs no more than a rare one. A query without positives is not
    counted, yet serves the others as a negative. The mean is the average of the two directions' means; `items` is the
    number of pictures with a positive.

    Args:
        image: unit vectors of pictures.
        text: unit vectors of captions, each distinct caption once or as often as it occurs.
        scale: factor on the cosines.
        positives: bool, or weights of at least 0 (MixUp: the share of the picture that has the caption).
        known: False takes a pair out of the loss altogether, neither positive nor negative; None: all are known.

    Requires: at least one positive pair; positives that are known (an unknown positive is dropped).
    Prefer softmax_loss when every caption fits one picture only, which spares the matrix of positives; sigmoid_loss
    when what is true of a pair should not compete with what is true of others.
    Source: Khosla et al., "Supervised Contrastive Learning" (2020), eq. 2 (the sum outside the logarithm), between
    two sets; the averaged directions as in CLIP.

    Raises:
        TrainingError: no positive pair at all.
    """
    with exact(image):
        logits = scale * (widen(image) @ widen(text).T)
        weights = positives.to(logits.dtype)
        if known is not None:
            # The lowest finite number, not -inf: a fully masked row must not turn into NaN times zero.
            logits = logits.masked_fill(~known, torch.finfo(logits.dtype).min)
            weights = weights * known
        by_image, images = _spread_cross_entropy(logits, weights)
        by_text, texts = _spread_cross_entropy(logits.T, weights.T)
        if not bool(images > 0):
            raise TrainingError(NO_POSITIVES.format(rows=len(image), columns=len(text)))
    return Terms((by_image + by_text * (images / texts)) / 2, images)


def _spread_cross_entropy(logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over the rows that have a positive, and their number."""
    mass = weights.sum(1)
    counted = mass > 0
    # Mean logit over positives; where() because weight 0 times a masked logit of -3e38 must not lose precision.
    own = torch.where(weights > 0, weights * logits, 0).sum(1) / torch.where(counted, mass, 1)
    losses = torch.logsumexp(logits, 1) - own
    return torch.where(counted, losses, 0).sum(), counted.sum().to(logits.dtype)


def sigmoid_loss(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "t d"],
    scale: Scale,
    bias: Scale,
    positives: Shaped[Tensor, "b t"] | None = None,
    known: Bool[Tensor, "b t"] | None = None,
) -> Terms:
    """Binary cross-entropy of every pair on its own: sigmoid(scale * cosine + bias) is "they belong together".

    `positives` None means the diagonal, as in SigLIP; otherwise bool, or weights in [0, 1] (MixUp). Pairs that are
    not `known` contribute nothing. `items` is the number of pictures, so the mean is SigLIP's: summed over captions.

    Requires: a bias that starts near minus the logarithm of the captions per batch (SigLIP: -10), or the negatives
    of the first steps overwhelm everything; several positives per picture are welcome.
    Prefer multi_positive_loss for bases trained with softmax, which have no bias, and for rare captions, which drown
    here among negatives.
    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023), algorithm 1.

    Raises:
        TrainingError: no positive pair at all.
        ValueError: no `positives`, and not as many captions as pictures.
    """
    if positives is None and len(image) != len(text):
        raise ValueError(f"{len(image)} pictures and {len(text)} captions do not pair up; hand in positives")
    with exact(image):
        logits = scale * (widen(image) @ widen(text).T) + bias
        target = torch.eye(len(image), device=image.device) if positives is None else positives
        target = target.to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if known is not None:
            target, losses = target * known, torch.where(known, losses, 0)
        if not bool((target > 0).any()):
            raise TrainingError(NO_POSITIVES.format(rows=len(image), columns=len(text)))
    return Terms(losses.sum(), logits.new_tensor(float(len(image))))


def agreement(
    items: Integer[Tensor, "b a"], captions: Integer[Tensor, "t a"]
) -> tuple[Bool[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Which captions are true of which pictures, and of which pairs that is known at all: (positives, known).

    Both hold one code per attribute, -1 standing for "unknown" of a picture and for "says nothing about it" of a
    caption. A pair is negative when any stated value contradicts the picture's, unknown when none contradicts but
    some stated attribute is unknown of the picture, and positive otherwise. A caption that states nothing is
    unknown of every picture: it would be true of all. Memory: b x t x a bytes.
    """
    stated = captions[None] >= 0
    recorded = items[:, None] >= 0
    equal = items[:, None] == captions[None]
    contradicted = (stated & recorded & ~equal).any(-1)
    positives = (~stated | equal).all(-1) & (captions >= 0).any(-1)
    return positives, positives | contradicted
