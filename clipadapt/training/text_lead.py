"""Steps at the start that train the text tower alone, against picture vectors encoded once.

The texts of a base may not know the catalogue's words as well as its pictures do. Texts are cheap: without a picture
pass, hundreds of steps over thousands of items cost less than a few steps of both towers, and both then start from
texts that mean the right things. Pictures are as they are, without augmentation. Steps and epochs are keyed by negative
numbers, so that the main phase draws what it would draw without a lead.
Nothing here knows of checkpoints: a lead that is interrupted starts again.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sampling import epoch_order
from clipadapt.errors import TrainingError
from clipadapt.progress import bar
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import check_gradients
from clipadapt.training import optim
from clipadapt.training.directions import fit_directions
from clipadapt.training.objective import Objective, Outcome
from clipadapt.training.processes import Processes
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates

ITEMS = 4096
"""Pictures per step where the loss compares them with values: their vectors are there, so many cost little."""


def lead(
    config: Config,
    encoder: TorchEncoder,
    train: Catalogue,
    objective: Objective,
    step: Step,
    processes: Processes,
    pictures: Float[Tensor, "n d"],
) -> dict[str, float]:
    """Trains the text tower for `train.text_lead` steps.

    Returns the first and last loss, and accuracy where any was judged.
    `pictures`: unit vectors of every training item by the image tower as it is now.

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
            "train.text_lead: the text tower does not learn; set it to 0, or lora.preset to both or text"
        )
    peak = settings.lr if settings.text_lead_lr is None else settings.text_lead_lr
    updates = Updates(parameters, settings, processes, check=lambda: check_gradients(encoder, ("text",)))
    if config.loss.probe:
        scale, tau = float(step.scale()), config.loss.logit_adjustment
        objective.aim(fit_directions(objective.labels, pictures, scale=scale, tau=tau, seed=config.seed))
    trail: list[Outcome] = []
    with bar(settings.text_lead, "text lead", "steps") as shown:
        for number, items in enumerate(_draws(config, train, objective)):
            key = number - settings.text_lead
            asked = objective.ask(items, epoch=key, step=key, captioned=min(settings.batch_size, len(items)))
            updates.clear()
            outcome = step.text_alone(asked.on(pictures.device), pictures[items], step=key)
            rate = optim.lr_at(number, steps=settings.text_lead, peak=peak, warmup=settings.warmup)
            updates.apply(float(outcome.loss), rate, step=key, items=[train.ids[item] for item in items])
            trail.append(outcome)
            shown.advance(note=f"loss {float(outcome.loss):.3f}")
    updates.clear()
    objective.aim({})
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
    orders: list[np.ndarray] = []
    while sum(map(len, orders)) < size * settings.text_lead:
        epoch = -1 - len(orders)
        orders.append(epoch_order(train, epoch, config.seed, settings.balance, settings.balance_cap))
    return np.split(np.concatenate(orders)[: size * settings.text_lead], settings.text_lead)
