"""What is watched while a run goes: that the loss is a number, that memory suffices, that something is learned.

Numbers that are not finite and exhausted memory stop a run with what to change; a stall or a collapse is said once and
the run goes on, for only its owner knows whether that is good enough. Nothing here knows of towers or processes.
"""

import math
from collections.abc import Sequence

import torch

from clipadapt.config import Config
from clipadapt.errors import TrainingError
from clipadapt.training.checkpoints import Epoch

LEARNED = 0.95
"""Training accuracy from which there is little left to gain, so that standing still is no stall."""
GAIN = 0.01
"""Least rise of training accuracy over two epochs that is not a stall."""
WORSE = 1.1
"""A mean loss this many times the first epoch's counts as a collapse."""


def finite(loss: float, norm: float, *, step: int, items: Sequence[str]) -> str | None:
    """The fault of a step whose loss or gradient is no number; names the step and its items."""
    if math.isfinite(loss) and math.isfinite(norm):
        return None
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
    shown = ", ".join(items[:8]) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
    return (
        f"step {step}: {what} (items {shown}); nothing was changed and the last checkpoint is kept. "
        "Lower train.lr, set model.precision to fp32, or look at these items with `clipadapt data check`"
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that the device, or the machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_error(config: Config) -> TrainingError:
    """Names the setting to lower."""
    micro = config.train.micro_batch
    remedies = [f"lower train.micro_batch (now {micro}); results do not depend on it"] if micro > 1 else []
    if not config.model.checkpointing:
        remedies.append("set model.checkpointing=true")
    if config.model.frozen_dtype == "fp32":
        remedies.append("set model.frozen_dtype=bf16")
    remedies = remedies or ["choose a smaller model.image_size or model.name"]
    return TrainingError("out of memory; " + ", or ".join(remedies))


def advice(epochs: Sequence[Epoch], config: Config) -> str | None:
    """What to try when training stands still or falls apart; None when it does neither."""
    if len(epochs) < 2:
        return None
    first, last = epochs[0], epochs[-1]
    guessing, judged = False, ""
    if last.accuracy is not None and last.chance is not None:
        guessing = last.accuracy <= min(1.2 * last.chance, last.chance + 0.02)
        judged = f", training accuracy {last.accuracy:.1%} where guessing has {last.chance:.1%}"
    if guessing or last.loss > WORSE * first.loss:
        return (
            f"the loss collapsed: {first.loss:.3f} in the first epoch, {last.loss:.3f} now{judged}. "
            f"Try {_more(config, first='norms')}, or a lower train.lr (now {config.train.lr:g})"
        )
    before = epochs[-3].accuracy if len(epochs) >= 3 else None
    if before is None or last.accuracy is None or last.accuracy >= LEARNED or last.accuracy - before >= GAIN:
        return None
    return (
        f"training accuracy stalls at {last.accuracy:.1%} ({before:.1%} two epochs ago). "
        f"Try {_more(config, first='mlp')}"
    )


def _more(config: Config, *, first: str) -> str:
    """The options that let more of the model move and are not on yet, the more promising first."""
    mlp = any("mlp" in pattern and rank for pattern, rank in config.lora.resolved_plan())
    options = {
        "mlp": None
        if mlp
        else f'MLP adapters (lora.plan=[["*.attention.*", {config.lora.rank}], ["*.mlp.*", {config.lora.rank}]])',
        "norms": None if config.lora.norms else "LayerNorm tuning (lora.norms=true)",
    }
    if config.train.trainable != "adapters":
        return "train.trainable=adapters with MLP adapters in lora.plan"
    order = [first, *(name for name in options if name != first)]
    named = [text for name in order if (text := options[name])]
    return " or ".join(named) or f"a higher lora.rank (now {config.lora.rank})"
