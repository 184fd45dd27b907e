"""Encoders whose upper image blocks carry adapters that are not zero, and the gradients that features give them."""

from typing import Any

import torch
from torch import Tensor

from clipadapt.config import Lora
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import add_adapters

UPPER: Any = [["image.blocks.0.*", None], ["*.attention.{q,k,v,out}", 2], ["*", None]]


def adapted(encoder: TorchEncoder, plan: Any = UPPER, **lora: Any) -> TorchEncoder:
    """With adapters that are not zero any more."""
    add_adapters(encoder, Lora(preset="image", rank=2, alpha=4, dropout=0.0, plan=plan, **lora))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return encoder


def gradients(encoder: TorchEncoder, features: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.model.named_parameters() if p.grad is not None}
