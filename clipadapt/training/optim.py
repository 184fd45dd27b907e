"""AdamW with the parameter groups adapters want, warm-up + cosine per optimizer step, clipping and the scale's clamp.

Matrices decay; norms, biases, DoRA magnitudes, tokens' embeddings and the logit scale do not, for decay would pull them
towards a value that means something. The rate is a pure function of the step, so that a resumed run needs only its step
counter. Nothing here knows of batches, losses or processes.

    lr_at(step=0, steps=100, peak=1.0, warmup=0.05)    # 0.2: the first of 5 rising steps
    lr_at(step=99, steps=100, peak=1.0, warmup=0.05)   # almost 0: the last step
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from clipadapt.errors import TrainingError
from clipadapt.recipe import LARGEST_SCALE


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter of everything that gets a gradient, in registration order, each parameter once."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: matrices only, and never the logit scale, nor a token's embedding, whose start is a
    word's meaning and not zero.
    """
    return parameter.ndim >= 2 and not name.endswith(("logit_scale", "logit_bias")) and ".trainable_tokens_" not in name


def adamw(parameters: dict[str, nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over two groups, fused (one kernel over all parameters) where the device has it.

    Raises:
        TrainingError: there is nothing to train.
    """
    if not parameters:
        raise TrainingError(
            "nothing to train: no parameter has a gradient; give lora.plan a pattern with a rank, "
            "or set train.trainable to norms or all"
        )
    decayed = [parameter for name, parameter in parameters.items() if decays(name, parameter)]
    spared = [parameter for name, parameter in parameters.items() if not decays(name, parameter)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters.values())
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, fused=fused)


def lr_at(step: int, *, steps: int, peak: float, warmup: float) -> float:
    """The rate of optimizer step `step` (from 0) out of `steps`: linear warm-up, then cosine towards zero.

    The first step already moves, and the last one moves a little: no step is wasted on a rate of zero.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """One rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def clip(parameters: Sequence[nn.Parameter], limit: float | None) -> float:
    """Scales all gradients so that their joint norm is at most `limit`; returns the norm they had.

    A norm that is not finite is returned as it is, with the gradients untouched: the caller decides what it means.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if limit is not None and bool(torch.isfinite(norm)):
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return float(norm)


@torch.no_grad()
def clamp_scale(logit_scale: torch.Tensor) -> None:
    """Keeps the (logarithmic) logit scale between 0 and ln 100, in place."""
    logit_scale.clamp_(0.0, math.log(LARGEST_SCALE))
