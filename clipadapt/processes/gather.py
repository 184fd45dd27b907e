"""The vectors of all processes as one tensor whose gradient finds its way back to the process that made them.

`torch.distributed.all_gather` cuts the gradient. Here the backward pass is the true adjoint of gathering: what every
process's loss says about a vector is summed and handed to its owner. With W processes the objective that is
differentiated is then the SUM of the W returned losses, and DistributedDataParallel's mean over processes turns it
into their MEAN. Hence the rule, with no factor W anywhere:

    every process returns the loss of the whole gathered batch      -> exact gradients of that loss
    process r returns the mean over its own rows of the batch       -> exact gradients of the mean over all rows,
                                                                       when all processes hold equally many rows

Parameters used after gathering (a logit scale) get the same gradient on every process, which the mean leaves alone.
Nothing here knows of losses or models. Costs one all-gather forward and one all-reduce of the same size backward; a
reduce-scatter would move half of that, but gloo does not offer it in every supported release, and a batch of vectors
is small beside the gradients that follow.
Source: Chen et al., "A Simple Framework for Contrastive Learning" (2020) gathers so; open_clip's gather_with_grad.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import Parameter


def gather(vectors: Shaped[Tensor, "local ..."], group: dist.ProcessGroup | None = None) -> Shaped[Tensor, "all ..."]:
    """Rows of all processes in order of rank; the tensor itself in a single process.

    Processes may hold different numbers of rows, even none, but the same row shape and dtype. Every process must call
    it equally often and backpropagate through it equally often, or all of them wait for ever. Labels and other
    integers are gathered without gradient.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return vectors
    if vectors.is_floating_point():
        return _Gather.apply(vectors, group)  # pyright: ignore[reportReturnType]  # Function.apply is typed loosely
    return _all_rows(vectors, _row_counts(vectors, group), group)


def average_gradients(parameters: Iterable[Parameter], group: dist.ProcessGroup | None = None) -> None:
    """Replaces each .grad by its mean over all processes, as DDP would, in one collective; no-op in one process.

    For training steps that DDP's hooks do not fit: several backward passes through different towers, a parameter
    used outside forward. A parameter without gradient on one process counts as zero there, and one without on all of
    them keeps none. Every process must hand in the same parameters in the same order. Sent in float32, or float64
    when any gradient is; adapters' gradients are a few megabytes.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    if not parameters:
        return
    wide = torch.float64 if any(parameter.dtype == torch.float64 for parameter in parameters) else torch.float32
    device = parameters[0].device
    flags = torch.tensor([float(p.grad is not None) for p in parameters], dtype=wide, device=device)
    blocks = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    packed = torch.cat([flags, *(block.flatten().to(wide) for block in blocks)])
    dist.all_reduce(packed, group=group)
    reached, *means = packed.split([len(parameters), *(block.numel() for block in blocks)])
    for parameter, some, mean in zip(parameters, reached.tolist(), means, strict=True):
        if some:
            parameter.grad = (mean / dist.get_world_size(group)).view_as(parameter).to(parameter.dtype)


def _row_counts(vectors: Tensor, group: dist.ProcessGroup | None) -> list[int]:
    here = torch.tensor([vectors.shape[0]], device=vectors.device)
    counts = [torch.empty_like(here) for _ in range(dist.get_world_size(group))]
    dist.all_gather(counts, here, group=group)
    return torch.cat(counts).tolist()


def _all_rows(vectors: Tensor, counts: list[int], group: dist.ProcessGroup | None) -> Tensor:
    """Gathers blocks padded to the longest, since collectives want equal shapes, and drops the padding."""
    padded = vectors.new_zeros((max(counts), *vectors.shape[1:]))
    padded[: vectors.shape[0]] = vectors
    blocks = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(blocks, padded, group=group)
    return torch.cat([block[:count] for block, count in zip(blocks, counts, strict=True)])


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        counts = _row_counts(vectors, group)
        rank = dist.get_rank(group)
        ctx.group, ctx.start, ctx.stop = (
            group,
            sum(counts[:rank]),
            sum(counts[: rank + 1]),
        )
        return _all_rows(vectors, counts, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradients[0].contiguous().clone()  # all_reduce works in place, and autograd may still own the original
        dist.all_reduce(total, group=ctx.group)
        return total[ctx.start : ctx.stop], None
