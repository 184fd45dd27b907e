"""LoRA dropout keyed by (seed, step, item), so that no other choice of a run changes what is dropped.

peft's nn.Dropout draws one number per token and channel from the process's generator: split a batch in pieces, over two
processes, or trim a caption, and other numbers are drawn. Here an item (a picture, or a distinct text) drops whole
input channels of an adapter, the same for all its tokens (variational dropout: Gal & Ghahramani 2016,
arXiv:1512.05287). Batches in pieces, recomputed passes, trimmed and repeated captions then have equal gradients with
dropout on, nothing needs a saved random state, and drawing costs one number per channel rather than per token.
Nothing here knows of attention layouts or of the loss.
"""

from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from clipadapt.keyed import Key, generator

_LEVELS = 1 << 16  # a probability is a multiple of 1/65536; two random bytes decide one channel


class ItemDropout(nn.Module):
    """Drops input channels of one adapter, item by item, by the mask that was set for the coming forward pass."""

    def __init__(self, p: float, features: int) -> None:
        super().__init__()
        self.p = p
        self.features = features
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: [items, ..., features]; the identity in eval mode."""
        if not self.training:
            return x
        if self.mask is None or self.mask.shape[0] != x.shape[0]:
            drawn = "none" if self.mask is None else str(self.mask.shape[0])
            raise RuntimeError(f"dropout masks of {drawn} items for a batch of {x.shape[0]}: draw them before the pass")
        between = (1,) * (x.ndim - 2)
        return x * self.mask.view(-1, *between, self.features).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}, features={self.features}"


class Dropouts:
    """All dropouts of one tower, which draw together.

    dropouts = Dropouts(encoder.image, "image", seed=0)   # replaces peft's nn.Dropout modules
    dropouts.draw(step=7, items=[12, 40], device=device)   # then a forward pass of these two pictures
    """

    def __init__(self, tower: nn.Module, name: str, *, seed: int) -> None:
        self._key: tuple[Key, ...] = (seed, "dropout", name)
        self.layers: list[ItemDropout] = []
        for module in tower.modules():
            if isinstance(module, LoraLayer):
                for adapter, dropout in module.lora_dropout.items():
                    if isinstance(dropout, nn.Dropout) and dropout.p > 0.0:
                        features = cast("nn.Linear", module.lora_A[adapter]).in_features
                        module.lora_dropout[adapter] = ItemDropout(dropout.p, features)
                        self.layers.append(cast("ItemDropout", module.lora_dropout[adapter]))

    def draw(self, *, step: int, items: Sequence[int | str], device: torch.device | str = "cpu") -> None:
        """Sets the masks of the next forward pass, which must hold exactly these items in this order.

        An item is its number in the catalogue, or the text itself; the same (step, item) always gives the same mask.
        """
        if not self.layers:
            return
        widths = [layer.features for layer in self.layers]
        drawn: dict[Hashable, np.ndarray] = {}
        for item in items:
            if item not in drawn:
                drawn[item] = generator(*self._key, step, item).integers(0, _LEVELS, sum(widths), dtype=np.uint16)
        bits = torch.from_numpy(np.stack([drawn[item] for item in items]).astype(np.int32)).to(device)
        for layer, part in zip(self.layers, bits.split(widths, dim=1), strict=True):
            layer.mask = _keep(part, layer.p)

    def clear(self) -> None:
        """Forgets the masks, which hold device memory."""
        for layer in self.layers:
            layer.mask = None


def _keep(bits: Tensor, p: float) -> Float[Tensor, "items features"]:
    """0 with probability p, else 1 / (1 - p), so that the expectation is unchanged."""
    return (bits >= round(p * _LEVELS)).float() / (1.0 - p)


def train_adapters(tower: nn.Module) -> None:
    """Train mode for adapters alone: a frozen base keeps to its evaluation behaviour (BatchNorm, drop path)."""
    tower.eval()
    for module in tower.modules():
        if isinstance(module, LoraLayer):
            cast("nn.Module", module).train()
            cast("nn.Module", module.get_base_layer()).eval()
