"""A Linear with its LoRA adapter as one step of autograd: what peft computes, in fewer passes over memory.

peft adds base(x) and scale * B(A(x)) from six operations: under autocast x is rounded twice, the scale and the sum are
passes over the whole output, and the backward pass repeats them. On a CPU these passes cost more than the products
(64 pictures x 257 tokens x 192 wide: copies, additions and multiplications 60% of a step, measured with torch's
profiler). Here x is rounded once, the scale is put on the r columns in the middle, and the adapter's products are
accumulated in place of the base's. Equal to rounding, in the forward and the backward pass.
Nothing here knows of towers or plans.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from peft.tuners import lora
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from clipadapt.training.dropout import ItemDropout


class LoraLinear(lora.Linear):
    """peft's lora.Linear with one plain adapter on a frozen Linear; `fuse` makes it of those that fit."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: [..., in] -> [..., out]."""
        if args or kwargs or self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        (name,) = self.active_adapters
        base = cast("nn.Linear", self.get_base_layer())
        dropout = self.lora_dropout[name]
        dropped = dropout(x) if isinstance(dropout, ItemDropout) and dropout.training else None
        down, up = (cast("nn.Linear", one[name]).weight for one in (self.lora_A, self.lora_B))
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        return _LoraProduct.apply(x, dropped, base.weight, base.bias, down, up, self.scaling[name], kind)


def fuse(model: nn.Module) -> int:
    """Exchanges the class of peft's Linears that hold one plain adapter; returns how many.

    Others (DoRA, biases in the adapter, trained base weights) stay peft's.
    """
    fitting = [module for module in model.modules() if type(module) is lora.Linear and _fits(module)]
    for module in fitting:
        module.__class__ = LoraLinear
    return len(fitting)


def _fits(module: lora.Linear) -> bool:
    base, names = module.get_base_layer(), list(module.lora_A)
    linear = isinstance(base, nn.Linear) and type(base).forward is nn.Linear.forward
    if not linear or len(names) != 1 or list(module.active_adapters) != names or module.lora_variant:
        return False
    up, dropout = cast("nn.Linear", module.lora_B[names[0]]), module.lora_dropout[names[0]]
    frozen = not any(parameter.requires_grad for parameter in base.parameters())
    plain = isinstance(dropout, nn.Identity | ItemDropout) or (isinstance(dropout, nn.Dropout) and dropout.p == 0.0)
    return frozen and plain and up.bias is None and not module.fan_in_fan_out


class _LoraProduct(Function):
    """x W^T + bias + scale * dropped A^T B^T, in `kind`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "... i"],
        dropped: Float[Tensor, "... i"] | None,
        weight: Float[Tensor, "o i"],
        bias: Float[Tensor, " o"] | None,
        down: Float[Tensor, "r i"],
        up: Float[Tensor, "o r"],
        scale: float,
        kind: torch.dtype,
    ) -> Float[Tensor, "... o"]:
        rows = x.reshape(-1, x.shape[-1]).to(kind)
        inner = rows if dropped is None else dropped.reshape(-1, x.shape[-1]).to(kind)
        weight, down, up = weight.to(kind), down.to(kind), up.to(kind)
        middle = (inner @ down.T).mul_(scale)
        found = rows @ weight.T if bias is None else torch.addmm(bias.to(kind), rows, weight.T)
        found.addmm_(middle, up.T)
        ctx.save_for_backward(inner, weight, down, up, middle)
        ctx.scale, ctx.shape, ctx.kind, ctx.split = scale, x.shape, x.dtype, dropped is not None
        return found.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inner, weight, down, up, middle = ctx.saved_tensors
        rows = gradients[0].reshape(-1, gradients[0].shape[-1]).to(weight.dtype)
        back = (rows @ up).mul_(ctx.scale)
        of_down = (back.T @ inner).float() if down.dtype != torch.float64 else back.T @ inner
        of_up = (rows.T @ middle).float() if up.dtype != torch.float64 else rows.T @ middle
        of_x = of_dropped = None
        if ctx.needs_input_grad[0]:
            of_x = rows @ weight
            if not ctx.split:
                of_x.addmm_(back, down)
            of_x = of_x.to(ctx.kind).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            of_dropped = (back @ down).to(ctx.kind).view(ctx.shape)
        return of_x, of_dropped, None, None, of_down, of_up, None, None
