"""The proof that what was written is what was measured: the same pictures and texts through both, compared.

Inputs are drawn, not photographed: noise reaches every weight, and a proof must not depend on a catalogue being at
hand. Features are compared after normalisation, since a direction is all that search and recognition read.
Nothing here knows how a format is written or loaded.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipadapt.errors import ParityError
from clipadapt.towers.encoder import TorchEncoder, evaluating

BOUND = 1e-5
"""Largest difference of any component of a unit vector; float32 sums in another order stay below 4e-6."""
TEXTS = ("a photo of a pleated midi skirt", "striped cotton shirt, slim fit, long sleeves", "shoes", "")


class Probe(NamedTuple):
    """Inputs, and the unit vectors that the measured model gives for them."""

    pixels: Float[Tensor, "4 3 h w"]
    tokens: Int[Tensor, "4 context"] | None
    image: Float[Tensor, "4 d"]
    text: Float[Tensor, "4 d"] | None


class Agreement(NamedTuple):
    """Largest component difference per tower; null for a tower that the model has not."""

    image: float
    text: float | None


@torch.no_grad()
def probe(encoder: TorchEncoder) -> Probe:
    """What the model says now, in its weights' own precision, dropout off."""
    size = encoder.preprocess.size
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    tokens = None if encoder.context_length is None else encoder.backend.tokens(TEXTS)
    precision, encoder.precision = encoder.precision, "fp32"
    try:
        with evaluating(encoder):
            image = F.normalize(encoder.image_features(pixels).float(), dim=-1).cpu()
            text = None if tokens is None else F.normalize(encoder.text_features(tokens).float(), dim=-1).cpu()
    finally:
        encoder.precision = precision
    return Probe(pixels, tokens, image, text)


@torch.no_grad()
def compare(
    expected: Probe,
    image: Callable[[Tensor], Tensor],
    text: Callable[[Tensor], Tensor] | None,
    *,
    what: str,
    bound: float = BOUND,
) -> Agreement:
    """Runs the written model on the probe's inputs.

    Args:
        expected: the measured model's answers.
        image: pixels -> features of the written model, normalised or not.
        text: token ids -> features.
        what: names the written model in the error.
        bound: largest difference of a component that counts as equal.

    Raises:
        ParityError: a tower differs by more than `bound`.
    """
    differences: dict[str, float] = {"image": _difference(image(expected.pixels), expected.image)}
    if text is not None and expected.tokens is not None and expected.text is not None:
        differences["text"] = _difference(text(expected.tokens), expected.text)
    for tower, difference in differences.items():
        if not difference <= bound:  # also true for NaN
            raise ParityError(
                f"{what}: its {tower} vectors differ from the measured model's by {difference:.1e} "
                f"(at most {bound:.0e} is rounding); nothing was written"
            )
    return Agreement(differences["image"], differences.get("text"))


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((F.normalize(found.float().cpu(), dim=-1) - expected).abs().max())
