"""Rotary embeddings as one multiplication of complex numbers while training: what timm computes, and its gradient.

timm turns pairs of channels by slices with a step of two, a stack, two products and a sum; the gradients of such slices
are written into zeros one by one and added up. On a CPU that takes a quarter of a block's time (64 pictures x 3 heads x
256 tokens x 64 channels, bf16). A pair of channels is a complex number, turning it a product with another one, and
the gradient the product with that one's conjugate. Computed in float32 and rounded at the end, as timm does.
Nothing here knows of attention: within `fused_rotation`, whatever has timm rotate is served.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Complex, Float
from timm.layers import pos_embed_sincos
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_plain = pos_embed_sincos.apply_rot_embed


@contextmanager
def fused_rotation() -> Iterator[None]:
    """Within: timm's `apply_rot_embed` is `rotate`."""
    before = pos_embed_sincos.apply_rot_embed
    pos_embed_sincos.apply_rot_embed = rotate
    try:
        yield
    finally:
        pos_embed_sincos.apply_rot_embed = before


def rotate(
    x: Float[Tensor, "... d"], sin_emb: Float[Tensor, "... d"], cos_emb: Float[Tensor, "... d"], half: bool = False
) -> Float[Tensor, "... d"]:
    """x turned by angles that two neighbouring channels share; others, and trained ones, are left to timm."""
    sine, cosine = sin_emb[..., ::2], cos_emb[..., ::2]
    shared = torch.equal(sine, sin_emb[..., 1::2]) and torch.equal(cosine, cos_emb[..., 1::2])
    if half or not shared or sin_emb.requires_grad or cos_emb.requires_grad:
        return _plain(x, sin_emb, cos_emb, half)
    wide = torch.promote_types(x.dtype, torch.promote_types(sine.dtype, torch.float32))
    return _Rotation.apply(x, torch.complex(cosine.to(wide), sine.to(wide)))


class _Rotation(Function):
    """Channels in pairs, times complex numbers of length one."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "... d"], turn: Complex[Tensor, "... c"]) -> Float[Tensor, "... d"]:
        ctx.save_for_backward(turn)
        return _turned(x, turn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (turn,) = ctx.saved_tensors
        return _turned(gradients[0], turn.conj()), None


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    wide = x.to(turn.real.dtype, memory_format=torch.contiguous_format).contiguous()  # no copy where the type is that
    pairs = torch.view_as_complex(wide.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).reshape(x.shape).to(x.dtype)
