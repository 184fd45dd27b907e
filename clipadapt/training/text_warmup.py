"""Steps at the start that train the text tower alone, against picture vectors encoded once.

The texts of a base may not know the catalogue's words as well as its pictures do. Texts are cheap: without a picture
pass, hundreds of steps over thousands of items cost less than a few steps of both towers, and both then start from
texts that mean the right things. Pictures are as they are, without augmentation. Steps and epochs are keyed by negative
numbers, so that the main phase draws what it would draw without a warm-up.

Two kinds of targets steer texts besides the loss. `probe_directions`: where a balanced linear classifier on the base's
picture vectors puts each value; each text has one place to go to, and rare values as clear a one as frequent ones.
`anchor_texts`: texts that training must not move (everyday things, attributes that are not trained), in the warm-up and
after it; the words are ours, chosen for breadth, and know nothing of any test set.
Nothing here knows of checkpoints: a warm-up that is interrupted starts again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sampling import epoch_order
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.progress import bar
from clipadapt.prompts import Prompts
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import check_gradients
from clipadapt.training import optim
from clipadapt.training.labels import Labels
from clipadapt.training.objective import Objective, Outcome
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates

ITEMS = 4096
"""Pictures per step where the loss compares them with values: their vectors are there, so many cost little."""

PROBE_STEPS = 100
"""Past about 100 full-batch steps the rare values' directions fit their few items rather than the value."""
PROBE_RATE = 0.01
PROBE_LOGITS = 1 << 26
"""Items x values of one step: 256 MB for each copy that the backward pass holds."""
PROBE_ITEMS = 4096
"""Items of a step at least, however many values there are."""
PROBE_NOISE = 0.02
"""Size of the first directions' spread around the pictures' mean, which separates nothing yet."""
EVERYDAY = (
    "dog", "cat", "bird", "horse", "fish", "tree", "flower", "leaf", "mountain", "river", "beach", "sky", "cloud",
    "street", "building", "bridge", "garden", "kitchen", "bedroom", "office", "table", "chair", "sofa", "lamp", "bed",
    "window", "door", "mirror", "clock", "book", "letter", "pen", "phone", "laptop", "camera", "television", "guitar",
    "piano", "ball", "bicycle", "car", "bus", "train", "boat", "airplane", "bread", "cake", "fruit", "salad", "coffee",
    "bottle", "cup", "plate", "knife", "spoon", "box", "basket", "bag", "key", "coin", "toy", "doll", "candle", "paper",
    "man", "woman", "child", "baby", "face", "hand", "foot", "person in a room", "person outdoors", "group of people",
    "piece of clothing", "pile of clothes", "piece of cloth", "accessory", "tool", "machine", "sign", "painting",
    "drawing", "pattern", "shadow", "light", "wall", "floor", "wood", "metal", "glass", "stone", "plastic", "leather",
)  # fmt: skip
FRAMES = ("a photo of a {}", "{}")
"""What an everyday thing is put into."""


def warm_up(
    config: Config,
    encoder: TorchEncoder,
    train: Catalogue,
    objective: Objective,
    step: Step,
    processes: Processes,
    pictures: Float[Tensor, "n d"],
    *,
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, float]:
    """Trains the text tower for `train.text_warmup` steps.

    Returns the first and last loss, and accuracy where any was judged.
    `pictures`: unit vectors of every training item by the image tower as it is now.
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
    if config.loss.probe:
        scale, tau = float(step.scale()), config.loss.logit_adjustment
        objective.set_targets(probe_directions(objective.labels, pictures, scale=scale, tau=tau, seed=config.seed))
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
    orders: list[np.ndarray] = []
    while sum(map(len, orders)) < size * settings.text_warmup:
        epoch = -1 - len(orders)
        orders.append(epoch_order(train, epoch, config.seed, settings.balance, settings.balance_cap))
    return np.split(np.concatenate(orders)[: size * settings.text_warmup], settings.text_warmup)


def probe_directions(
    labels: Sequence[Labels], pictures: Float[Tensor, "n d"], *, scale: float, tau: float, seed: int
) -> Mapping[str, Float[Tensor, "v d"]]:
    """Attribute -> unit vector of each of its values, fitted by logit-adjusted cross-entropy over all items at once.

    Where items x values would not fit in memory, each step takes another share of the items. Time grows with both.

    Args:
        labels: the attributes of a catalogue, and what each item has.
        pictures: unit vectors of its items, in order; no gradient reaches them.
        scale: factor on cosines; a low one regularises.
        tau: strength of the frequency prior, as in the recognition loss.
        seed: of the first directions.
    """
    draws = torch.Generator().manual_seed(seed)
    items = torch.arange(len(pictures), device=pictures.device)
    factor = torch.tensor(scale, device=pictures.device)
    found = {}
    for attribute in labels:
        spread = PROBE_NOISE * torch.randn(len(attribute.values), pictures.shape[1], generator=draws)
        free = (pictures.mean(0) + spread.to(pictures)).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=PROBE_RATE)
        size = max(PROBE_ITEMS, PROBE_LOGITS // len(attribute.values))
        for _ in range(PROBE_STEPS):
            some = items
            if len(items) > size:
                some = torch.randperm(len(items), generator=draws)[:size].to(items.device)
            optimizer.zero_grad()
            attribute.terms(some, pictures[some], F.normalize(free, dim=-1), factor, None, tau).mean().backward()
            optimizer.step()
        found[attribute.attribute] = F.normalize(free.detach(), dim=-1)
    return found


def anchor_texts(catalogue: Catalogue, prompts: Prompts, trained: Sequence[str]) -> list[str]:
    """Everyday things, and every value of the catalogue's attributes that are not in `trained`, each once."""
    texts = dict.fromkeys(frame.format(thing) for thing in EVERYDAY for frame in FRAMES)
    for attribute in catalogue.attributes:
        if attribute.name not in trained:
            for value in sorted(catalogue.counts(attribute.name)):
                texts |= dict.fromkeys(
                    (prompts.plain(attribute.name, value), *prompts.value_texts(attribute.name, value))
                )
    return list(texts)
