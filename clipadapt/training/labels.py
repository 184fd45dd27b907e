"""The labels of one attribute over a catalogue, and the loss of recognising them among all values.

Values are those with training items; an item whose cell is empty is masked. An exclusive attribute is a choice among
its values (cross-entropy), a multi attribute is a yes or no for each (binary cross-entropy). Nothing here knows of
prompts: value vectors are handed in.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Integer, Shaped
from torch import Tensor

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.losses.attributes import (
    attribute_loss,
    log_odds,
    log_prior,
    multi_attribute_loss,
    value_to_items_loss,
)
from clipadapt.losses.terms import Terms
from clipadapt.training.mixing import Mix


class Labels:
    """One attribute's values and what each item of the catalogue has."""

    def __init__(self, catalogue: Catalogue, attribute: Attribute, weight: float) -> None:
        self.attribute = attribute.name
        self.weight = weight
        counts = catalogue.counts(attribute.name)
        self.values: list[str] = sorted(value for value, count in counts.items() if count)
        """Values with training items, sorted."""
        at = {value: row for row, value in enumerate(self.values)}
        sets = catalogue.value_sets(attribute.name)
        self.known = torch.tensor([bool(held) for held in sets])
        self.labelled = float(self.known.float().mean()) if sets else 0.0
        """Share of the items that have a label."""
        items = int(self.known.sum())
        frequency = torch.tensor([counts[value] for value in self.values])
        self.exclusive = attribute.kind != "multi"
        """Whether an item has one value at most."""
        if not self.exclusive:
            cells = np.zeros((len(sets), len(self.values)), dtype=bool)
            for item, held in enumerate(sets):
                cells[item, [at[value] for value in held]] = True
            self._targets = torch.from_numpy(cells)
            self._prior = log_odds(frequency, items) if self.values else torch.zeros(0)
        else:
            self._targets = torch.tensor([at[next(iter(held))] if held else -1 for held in sets])
            self._prior = log_prior(frequency) if self.values else torch.zeros(0)

    def target(self, items: Integer[Tensor, " b"]) -> Shaped[Tensor, "b ..."]:
        """The value's row per item, -1 unknown; for a multi attribute a row of booleans per item."""
        return _beside(self, "_targets", items)[items]

    def terms(
        self,
        items: Integer[Tensor, " b"],
        image: Float[Tensor, "b d"],
        vectors: Float[Tensor, "v d"],
        scale: Tensor,
        mix: Mix | None,
        tau: float,
    ) -> Terms:
        """The summed loss of a batch and the number of labelled items in it."""
        prior = self._prior.to(image.device) if tau else None
        target, known = self.target(items), _beside(self, "known", items)[items]
        if not self.exclusive:
            share = target.float() if mix is None else mix.blend(target.float())
            known = known if mix is None else known & known[mix.partner]
            # Cosines of CLIP are all positive: "yes" begins above their mean, not above 0.
            bias = -(scale * (image.mean(0) @ vectors.mean(0))).detach()
            return multi_attribute_loss(image, vectors, share, known, scale, bias, prior, tau)
        if mix is not None:
            shares = torch.zeros(len(target), len(self.values), device=image.device)
            shares[known, target[known]] = 1.0
            return attribute_loss(image, vectors, mix.blend(shares), scale, prior, tau)
        return attribute_loss(image, vectors, target, scale, prior, tau)

    def search_terms(
        self,
        items: Integer[Tensor, " b"],
        image: Float[Tensor, "b d"],
        vectors: Float[Tensor, "v d"],
        scale: Tensor,
        mix: Mix | None,
    ) -> Terms:
        """The summed loss of finding each value among items, and the number of values that any of them has.

        `items` may go on beyond the batch, with vectors that were made earlier; a mixed batch may not.
        """
        target, known = self.target(items), _beside(self, "known", items)[items]
        if self.exclusive:
            rows = torch.zeros(len(target), len(self.values), device=image.device)
            rows[known, target[known]] = 1.0
            target = rows
        shares = target.to(torch.promote_types(image.dtype, torch.float32))
        if mix is not None:
            shares, known = mix.blend(shares), known & known[mix.partner]
        return value_to_items_loss(vectors, image, shares, known, scale)


def _beside(labels: Labels, name: str, items: Tensor) -> Tensor:
    """A table of the labels on the items' device, moved there once."""
    table: Tensor = getattr(labels, name)
    if table.device != items.device:
        table = table.to(items.device)
        setattr(labels, name, table)
    return table


def labels_of(catalogue: Catalogue, weights: Mapping[str, float]) -> tuple[Labels, ...]:
    """The attributes of a catalogue that can be learned: at least two values with items, and a weight above 0."""
    found = (Labels(catalogue, attribute, weights.get(attribute.name, 1.0)) for attribute in catalogue.attributes)
    return tuple(labels for labels in found if labels.weight > 0 and len(labels.values) > 1)
