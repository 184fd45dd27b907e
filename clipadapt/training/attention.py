"""Attention by matrix products while training on a CPU: what scaled_dot_product_attention means, written out.

torch's fused attention is made for inference there: its backward pass in bfloat16 runs at a tenth of the speed of
plain batched matrix products (at 16 x 3 heads x 257 tokens: 39 ms against 20 on one core, at 64 x 4 x 14: 21 against
3; measured by eval/benchmarks/train_step.py). The price is memory for the attention weights of one micro-batch.
Softmax runs in float32 inside, its result is rounded to the inputs' type, as everywhere under autocast.
Nothing here knows of models: whatever calls scaled_dot_product_attention within is served.
"""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clipadapt.training.rotation import fused_rotation


def training_attention(device: torch.device, *, checkpointing: bool) -> AbstractContextManager[object]:
    """The attention to train with on this device, rotary embeddings (rotation.py) included.

    Not with activation checkpointing: blocks are run again in the backward pass, outside of any context.
    """
    if device.type != "cpu" or checkpointing:
        return nullcontext()
    stack = ExitStack()
    stack.enter_context(fused_rotation())
    stack.enter_context(MatrixAttention())
    return stack


class MatrixAttention(TorchFunctionMode):
    """Within: every scaled_dot_product_attention without dropout is computed by `attention`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and not kwargs.get("dropout_p") and not kwargs.get("enable_gqa"):
            return attention(*args, **kwargs)
        return func(*args, **kwargs)


def attention(
    query: Float[Tensor, "*b n d"],
    key: Float[Tensor, "*b m d"],
    value: Float[Tensor, "*b m e"],
    attn_mask: Shaped[Tensor, "..."] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "*b n e"]:
    """softmax(q k^T scale + mask) v; masks as torch's: additive, or boolean where true takes part.

    Raises:
        ValueError: dropout or grouped heads, which are left to torch.
    """
    if dropout_p or enable_gqa:
        raise ValueError("neither dropout_p nor enable_gqa is served here")
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1).to(value.dtype) @ value
