"""What is watched while a run goes: that the loss is a number, that memory suffices, that something is learned.

Numbers that are not finite and exhausted memory stop a run with what to change; a stall or a collapse is said once and
the run goes on, for only its owner knows whether that is good enough. Nothing here knows of towers or processes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from clipadapt.config import Config
from clipadapt.data.splits import Splits
from clipadapt.errors import TrainingError
from clipadapt.prompts.fit import Context
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.checkpoints import Epoch, Progress
from clipadapt.training.labels import Labels
from clipadapt.training.objective import Objective
from clipadapt.training.probe_vectors import FEW, few

LEARNED = 0.95
"""Training accuracy from which there is little left to gain, so that standing still is no stall."""
GAIN = 0.01
"""Least rise of training accuracy over two epochs that is not a stall."""
WORSE = 1.1
"""A mean loss this many times the first epoch's counts as a collapse."""
PROBE_ALONE = "head=linear train.trainable=head loss={} train.order=texts_first train.text_warmup=0 lora.tokens=false"
"""What makes a recipe with value vectors a linear probe."""
TEXTS = 2000
"""Texts of training that are looked at for their length."""
VALUES = 8
"""Values that are named."""
FALLING = 0.98
"""A mean loss below this share of the epoch before's still falls: however little is recognised yet, it learns."""


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
    judged = ""
    if last.accuracy is not None and last.chance is not None:
        judged = f", training accuracy {last.accuracy:.1%} where guessing has {last.chance:.1%}"
    # Guessing alone is no collapse: a short run begins there. It is one where more was known before.
    fell = _guesses(last) and not _guesses(first)
    if fell or last.loss > WORSE * first.loss:
        return (
            f"training collapsed: loss {first.loss:.3f} in the first epoch, {last.loss:.3f} now{judged}. "
            f"Try {_more(config, first='norms')}, or a lower train.lr (now {config.train.lr:g})"
        )
    if _guesses(last):
        if last.loss < FALLING * epochs[-2].loss:
            return None
        return (
            f"nothing is learned: the loss stands at {last.loss:.3f} ({epochs[-2].loss:.3f} an epoch ago){judged}. "
            f"Try a higher train.lr (now {config.train.lr:g}), or {_more(config, first='mlp')}"
        )
    before = epochs[-3].accuracy if len(epochs) >= 3 else None
    if before is None or last.accuracy is None or last.accuracy >= LEARNED or last.accuracy - before >= GAIN:
        return None
    return (
        f"training accuracy stalls at {last.accuracy:.1%} ({before:.1%} two epochs ago). "
        f"Try {_more(config, first='mlp')}"
    )


def cut_texts(encoder: TorchEncoder, objective: Objective) -> str | None:
    """What to say where texts of training are longer than the text tower reads; None where all are read whole."""
    length = encoder.context_length
    if length is None:
        return None
    context = Context(lambda text: encoder.backend.tokens([text])[0].tolist(), length)
    texts = objective.sample_texts(TEXTS)
    lost = {text: words for text in texts if (words := context.cut(text))}
    if not lost:
        return None
    longest = max(lost.values(), key=len)
    return (
        f"{len(lost):,} of {len(texts):,} texts looked at are longer than the {length} tokens that this text tower "
        "reads: what comes after is never seen, and texts that differ there alone are one. Put what matters first, or "
        f"shorten the templates. The longest loses its last {len(longest)} word(s): ... {' '.join(longest[-6:])}"
    )


def of_labels(splits: Splits, objective: Objective, config: Config) -> list[str]:
    """What to say of a run's labels before its first step."""
    found = only_in_tune(splits, config), None if objective.table is None else few_labels(objective.labels)
    return [one for one in found if one is not None]


def only_in_tune(splits: Splits, config: Config) -> str | None:
    """What to do where all labelled items of a value are in tune, so that nothing is learned of it; None where there
    is no such value. With one label a value that is as many as the share that is set aside.
    """
    lost, share = [], config.data.splits.tune
    for attribute in (one.name for one in splits.train.attributes):
        if config.loss.attribute_weights.get(attribute, 1.0) > 0:
            kept = splits.train.counts(attribute)
            lost += [f"{attribute} {value}" for value in splits.tune.counts(attribute) if not kept.get(value)]
    if not lost:
        return None
    more = f" and {len(lost) - VALUES} more" if len(lost) > VALUES else ""
    return (
        f"label a second product of {', '.join(lost[:VALUES])}{more}, or change data.splits.tune (now {share}): all "
        "their labelled items are in tune, and nothing is learned of them"
    )


def few_labels(labels: Iterable[Labels]) -> str | None:
    """What is known of so few labels; None where all trained attributes have more.

    Args:
        labels: of the trained attributes, over the training split.
    """
    counts = {one.attribute: (int(one.known.sum()), len(one.values)) for one in labels if one.exclusive}
    shown = [f"{name} {items / values:.1f}" for name, (items, values) in counts.items() if few(items, values)]
    if not shown:
        return None
    more = f" and {len(shown) - VALUES} more" if len(shown) > VALUES else ""
    return (
        f"take the linear probe ({PROBE_ALONE}), or label more items of each value: there are "
        f"{', '.join(shown[:VALUES])}{more} labelled items a value, and up to {FEW} training the towers was not seen "
        "to help. On fashion photos with 1, 2 and 4 of each value the probe recognised 37, 38 and 39%, this recipe 38, "
        "35 and 37%; on frozen pictures, with all labels, its value vectors and the probe are even up to 16 of each"
    )


def _guesses(epoch: Epoch) -> bool:
    """Whether training accuracy is no more than guessing would give; false where nothing could be judged."""
    if epoch.accuracy is None or epoch.chance is None:
        return False
    return epoch.accuracy <= min(1.2 * epoch.chance, epoch.chance + 0.02)


def refuse_without_gradient(parameters: Iterable[nn.Parameter], config: Config) -> None:
    """The first step's gradients: where not one of them is other than zero, the batch is at fault, not the adapters.

    Raises:
        TrainingError: the loss does not depend on the model.
    """
    if any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters):
        return
    raise TrainingError(
        f"the first step's loss ({config.loss.name}) gives no gradient at all: it compares each picture with the "
        f"captions of the others, and a batch of {config.train.batch_size} holds none that differ. Raise "
        "train.batch_size, or let the captions in prompts say more of what differs"
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


def better_again(score: tuple[float, ...], progress: Progress, rows: Sequence[Mapping[str, object]]) -> bool:
    """Whether value vectors that were learned again are better on tune than the kept ones, rare values included.

    `rows`: the run's log. What is better for frequent values may have learned the few items of rare ones by heart.
    """
    best = progress.best or 0
    if score <= progress.scores()[best]:
        return False
    figures = [row for row in rows if "when" in row]
    then = [row for row in figures if row["when"] == (f"epoch {best}" if best else "with value vectors")]
    before, now = (row.get("tune_rare_balanced_accuracy") for row in (then[-1], figures[-1]))
    return not isinstance(before, float) or not isinstance(now, float) or now >= before
