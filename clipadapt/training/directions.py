"""Where a linear probe on the base's picture vectors would put each value: the directions that texts are led to.

Picture vectors of a base hold more about an attribute than its texts reach. A balanced linear classifier finds, in
seconds and without a picture pass, the unit vector per value that tells the values apart by cosine. As targets of the
text lead they are better conditioned than the recognition loss itself: each text has one place to go to, and rare
values as clear a one as frequent ones. Nothing here knows of texts or towers.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipadapt.training.labels import Labels

STEPS = 100
"""Past about 100 full-batch steps the rare values' directions fit their few items rather than the value."""
RATE = 0.01
NOISE = 0.02
"""Size of the first directions' spread around the pictures' mean, which separates nothing yet."""


def fit_directions(
    labels: Sequence[Labels], pictures: Float[Tensor, "n d"], *, scale: float, tau: float, seed: int
) -> Mapping[str, Float[Tensor, "v d"]]:
    """Attribute -> unit vector of each of its values, fitted by logit-adjusted cross-entropy over all items at once.

    Args:
        labels: the attributes of a catalogue, and what each item has.
        pictures: unit vectors of its items, in order; no gradient reaches them.
        scale: factor on cosines; a low one regularises.
        tau: strength of the frequency prior, as in the recognition loss.
        seed: of the first directions.
    """
    draws = torch.Generator().manual_seed(seed)
    items = torch.arange(len(pictures), device=pictures.device)
    factor = torch.tensor(scale, device=pictures.device)
    found = {}
    for attribute in labels:
        spread = NOISE * torch.randn(len(attribute.values), pictures.shape[1], generator=draws)
        free = (pictures.mean(0) + spread.to(pictures)).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            attribute.terms(items, pictures, F.normalize(free, dim=-1), factor, None, tau).mean().backward()
            optimizer.step()
        found[attribute.attribute] = F.normalize(free.detach(), dim=-1)
    return found
