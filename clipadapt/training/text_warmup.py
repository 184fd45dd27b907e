"""Steps at the start that train the text tower alone, against picture vectors encoded once.

The texts of a base may not know the catalogue's words as well as its pictures do. Texts are cheap: without a picture
pass, hundreds of steps over thousands of items cost less than a few steps of both towers, and both then start from
texts that mean the right things. Pictures are as they are, without augmentation. Steps and epochs are keyed by negative
numbers, so that the main phase draws what it would draw without a warm-up.

Value vectors steer texts besides the loss: where pictures put each value, so that each text has one place to go to, and
rare values as clear a one as frequent ones. anchors.py says what texts must not lose on the way.
Nothing here knows of checkpoints: a warm-up that is interrupted starts again.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sampling import balanced_weights, order_by
from clipadapt.errors import TrainingError
from clipadapt.memory import trim
from clipadapt.processes.exchange import Processes
from clipadapt.progress import bar
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import check_gradients
from clipadapt.training import optim
from clipadapt.training.objective import Objective, Outcome
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates

ITEMS = 4096
"""Pictures per step where the loss compares them with values: their vectors are there, so many cost little."""
TRIM_EVERY = 3
"""Steps after which freed memory is given back. Each has a number of texts of its own, so that what one freed seldom
fits the next: after 80 steps of a small EVA-CLIP 0.5 GB were in use, 1.3 free. To ask for it anew takes time, too."""


def warm_up(
    config: Config,
    encoder: TorchEncoder,
    train: Catalogue,
    objective: Objective,
    step: Step,
    processes: Processes,
    pictures: Float[Tensor, "n d"],
    *,
    targets: Mapping[str, Float[Tensor, "v d"]] | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, float]:
    """Trains the text tower for `train.text_warmup` steps.

    Returns the first and last loss, and accuracy where any was judged.
    `pictures`: unit vectors of every training item by the image tower as it is now.
    `targets`: value vectors that the values' texts are pulled to, by attribute; None: texts go by the loss alone.
    `scaler`: the one that `step` scales its losses with; without it gradients would stay scaled and be clipped away.

    Raises:
        TrainingError: the text tower does not learn, or the loss is no number.
    """
    settings = config.train
    parameters = {
        name: parameter
        for name, parameter in optim.trainable(encoder.model).items()
        if encoder.tower_of(name) == "text"
    }
    if not parameters:
        raise TrainingError(
            "train.text_warmup: the text tower does not learn; set it to 0, or lora.preset to both or text"
        )
    peak = settings.lr if settings.text_warmup_lr is None else settings.text_warmup_lr
    updates = Updates(parameters, settings, processes, scaler=scaler, check=lambda: check_gradients(encoder, ("text",)))
    objective.set_targets(targets or {})
    trail: list[Outcome] = []
    with bar(settings.text_warmup, "text warm-up", "steps") as shown:
        for number, items in enumerate(_draws(config, train, objective)):
            key = number - settings.text_warmup
            text_batch = objective.texts_for(items, epoch=key, step=key, captioned=min(settings.batch_size, len(items)))
            updates.clear()
            outcome = step.text_alone(text_batch.on(pictures.device), pictures[items], step=key)
            rate = optim.lr_at(number, steps=settings.text_warmup, peak=peak, warmup=settings.warmup)
            updates.apply(float(outcome.loss), rate, step=key, items=[train.ids[item] for item in items])
            trail.append(outcome)
            if number % TRIM_EVERY == 0:
                trim()
            shown.advance(note=f"loss {float(outcome.loss):.3f}")
    updates.clear()
    objective.set_targets({})
    first, last = trail[0], trail[-1]
    judged = {"accuracy_first": first.accuracy, "accuracy": last.accuracy}
    return {
        "loss_first": float(first.loss),
        "loss": float(last.loss),
        **{name: accuracy for name, accuracy in judged.items() if accuracy is not None},
    }


def _draws(config: Config, train: Catalogue, objective: Objective) -> list[np.ndarray]:
    """The items of each step: whole orders of the catalogue one after another, cut into equal batches."""
    settings = config.train
    size = min(len(train), ITEMS if objective.labels else settings.batch_size)
    balanced = settings.balance != "none"
    weights = balanced_weights(train, settings.balance, settings.balance_cap) if balanced else None
    needed = -(-size * settings.text_warmup // len(train))
    orders = [order_by(weights, len(train), -1 - number, config.seed) for number in range(needed)]
    return np.split(np.concatenate(orders)[: size * settings.text_warmup], settings.text_warmup)
