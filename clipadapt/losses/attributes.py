"""Pictures against the values of an attribute in both directions, with all values in every comparison.

    attribute_loss, multi_attribute_loss    which value a picture has: recognition
    value_to_items_loss                     which pictures have a value: search

Contrastive losses see a rare value only when a batch happens to hold it. Here a picture is compared with the text
vectors of every value of one attribute, so Embellished is a negative for each of a thousand Solid shirts and the
prior that such imbalance teaches is taken out again by logit adjustment. Unknown labels contribute zero to the sum
and to the count. Knows nothing of prompts, attributes' names or processes.
Source: Menon et al., "Long-tail learning via logit adjustment" (2021), eq. 10.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from clipadapt.losses.terms import Scale, Terms, exact, widen


def log_prior(counts: Shaped[Tensor, " v"]) -> Float[Tensor, " v"]:
    """Log share of each value among training items; a value without any counts as one item, so that it stays finite."""
    floor = counts.double().clamp(min=1)
    return (floor / floor.sum()).log().float()


def log_odds(counts: Shaped[Tensor, " v"], items: int) -> Float[Tensor, " v"]:
    """Log odds of each value among `items` labelled ones, for values that do not exclude each other; half an item is
    added to either side, so that values of none or of all items stay finite.
    """
    present = counts.double()
    return ((present + 0.5) / (items - present + 0.5)).log().float()


def attribute_loss(
    image: Float[Tensor, "b d"],
    value_vectors: Float[Tensor, "v d"],
    target: Integer[Tensor, " b"] | Float[Tensor, "b v"],
    scale: Scale,
    prior: Float[Tensor, " v"] | None = None,
    tau: float = 1.0,
) -> Terms:
    """Cross-entropy of a picture over all values: logits = scale * cosine + tau * prior.

    The prior is added while training and left out when recognising: the cosines alone then rank as for equally
    frequent values, which is what balanced accuracy asks.

    Args:
        image: unit vectors of pictures.
        value_vectors: unit vectors of the values' texts; with gradient when the text tower learns too.
        target: the value's row, -1 = unknown; or a share per value (MixUp). A row of shares may sum to less than 1
            when one of the mixed pictures is unknown: it counts for as much as it sums to.
        scale: factor on the cosines; a base's own 14 is low here, 30 to 100 separates values that texts hold close.
        prior: log_prior of the training counts; None: no adjustment.
        tau: strength of the adjustment; 1 is consistent for balanced error.

    Requires: one value per picture and all values present; nothing of the batch's composition.
    Prefer multi_attribute_loss when a picture can have several values, multi_positive_loss for whole captions.
    Source: Menon et al. (2021), eq. 10; masked targets as torch's ignore_index.

    Raises:
        ValueError: a target beyond the values, or shares of another shape.
    """
    with exact(image):
        logits = scale * (widen(image) @ widen(value_vectors).T)
        if prior is not None:
            logits = logits + tau * prior.to(logits)
        if target.is_floating_point():
            return _soft(logits, target.to(logits.dtype))
        known = target >= 0
        if bool((target >= len(value_vectors)).any()):
            raise ValueError(f"target {int(target.max())} with {len(value_vectors)} values")
        # An own mask, for cross_entropy's ignore_index gives NaN gradients in a batch without any known label.
        losses = F.cross_entropy(logits, target.clamp(min=0), reduction="none")
        return Terms(torch.where(known, losses, 0).sum(), known.sum().to(logits.dtype))


def _soft(logits: Tensor, shares: Tensor) -> Terms:
    if shares.shape != logits.shape:
        raise ValueError(f"shares {tuple(shares.shape)} do not fit logits {tuple(logits.shape)}")
    return Terms(-(shares * logits.log_softmax(1)).sum(), shares.sum())


def multi_attribute_loss(
    image: Float[Tensor, "b d"],
    value_vectors: Float[Tensor, "v d"],
    target: Shaped[Tensor, "b v"],
    known: Bool[Tensor, " b"] | Bool[Tensor, "b v"],
    scale: Scale,
    bias: Scale = 0.0,
    prior: Float[Tensor, " v"] | None = None,
    tau: float = 1.0,
) -> Terms:
    """Binary cross-entropy of each value on its own: logits = scale * cosine + bias + tau * prior.

    A picture's loss is the mean over the values known of it; `items` is the number of pictures with any known value.

    Args:
        image: unit vectors of pictures.
        value_vectors: unit vectors of the values' texts.
        target: bool, or shares in [0, 1] (MixUp).
        known: which pictures, or which cells, are labelled; the rest contributes zero.
        scale: factor on the cosines.
        bias: where "yes" begins: cosines of CLIP are all positive, so a bias near -scale * (mean cosine) is needed.
        prior: log_odds of the training counts; None: no adjustment.
        tau: strength of the adjustment.

    Requires: a picture labelled for one value counts as labelled "no" for the others unless `known` says otherwise.
    Prefer attribute_loss when values exclude each other: their competition is information.
    Source: Menon et al. (2021), applied to each value's own two classes.
    """
    with exact(image):
        logits = scale * (widen(image) @ widen(value_vectors).T) + bias
        if prior is not None:
            logits = logits + tau * prior.to(logits)
        cells = known[:, None].expand_as(logits) if known.dim() == 1 else known
        losses = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        values = cells.sum(1)
        per_picture = torch.where(cells, losses, 0).sum(1) / values.clamp(min=1)
        return Terms(per_picture.sum(), (values > 0).sum().to(logits.dtype))


def value_to_items_loss(
    value_vectors: Float[Tensor, "v d"],
    items: Float[Tensor, "n d"],
    shares: Shaped[Tensor, "n v"],
    known: Bool[Tensor, " n"],
    scale: Scale,
) -> Terms:
    """Cross-entropy of a value over all items whose label is known: the direction in which a catalogue is searched.

    Each value is a query; its distribution is softmax(scale * cosine) over the items, and its loss the mean over the
    items that have it, so that a value with three items counts as much as one with a thousand. `items` of the result is
    the number of values that any item has.

    Args:
        value_vectors: unit vectors of the values.
        items: unit vectors of pictures; those without gradient (a bank of earlier vectors) only make the task harder.
        shares: which values an item has: bool, or shares in [0, 1] (MixUp).
        known: items whose cell is empty take no part, neither as an answer nor as a wrong one.
        scale: factor on the cosines; the higher, the more the loss looks at the first ranks alone.

    Requires: more items than a batch usually has. With two dozen of them a rare value has no answer among them; hand in
    a bank of vectors of the whole catalogue beside the batch. Prefer attribute_loss for recognition, and both for both.
    Source: the text -> image half of Radford et al. (2021) with the positives of Khosla et al., "Supervised contrastive
    learning" (2020), eq. 2: the mean over positives outside of the logarithm.
    """
    with exact(items):
        logits = scale * (widen(value_vectors) @ widen(items).T)
        wanted = (shares.to(logits.dtype) * known[:, None]).T
        count = wanted.sum(1)
        # A large number and not -inf: where nothing is known the sum would be -inf, and its gradient no number.
        lowest = torch.finfo(logits.dtype).min / 2
        total = logits.masked_fill(~known, lowest).logsumexp(1)
        share = wanted / count.clamp(min=1e-6)[:, None]  # of a mixed picture as little as its share
        per_value = total - (share * logits).sum(1)
        return Terms(torch.where(count > 0, per_value, 0.0).sum(), (count > 0).sum().to(logits.dtype))
