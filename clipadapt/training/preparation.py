"""The model of a config, ready to train: adapted, cast, checkpointed and compiled as the config says.

The order matters: adapters are added to weights as the base has them, then frozen weights are cast, then towers are
compiled. Precision is the encoder's own autocast, entered anew for each forward pass: an autocast region that outlived
the first pass of a two-pass step would hand its cached, gradient-less casts to the second.
Nothing here trains.
"""

import logging
from typing import NamedTuple

import torch

from clipadapt.config import Config
from clipadapt.errors import ConfigError, ModelError
from clipadapt.towers.encoder import DTYPES, TorchEncoder
from clipadapt.towers.identity import TOWERS
from clipadapt.towers.load import load
from clipadapt.towers.lora import AdapterReport, select_trainable
from clipadapt.towers.tokens import distinctive_tokens
from clipadapt.training.dropout import train_adapters
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.objective import Objective
from clipadapt.training.value_words import value_words

log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """An encoder with something to train."""

    encoder: TorchEncoder
    logit_scale: LogitScale
    report: AdapterReport


def prepare(config: Config, device: torch.device | str, objective: Objective | None = None) -> Prepared:
    """Loads, adapts and arranges the model of a config on a device.

    `objective`: whose taught values' words `lora.tokens` trains; nothing else asks for it.

    Raises:
        ConfigError: options that contradict each other, or the model's dimensions.
        ModelError: the model cannot be loaded, or has no text tower.
        AdapterError: adapters that are missing, or a tokenizer that does not say what its tokens are.
        PromptError: with `lora.tokens`, a taught attribute has no wording.
    """
    model = config.model
    if model.frozen_dtype == "bf16" and model.precision != "bf16":
        raise ConfigError(
            f"model.frozen_dtype bf16 needs model.precision bf16 (it is {model.precision}); set both, or neither"
        )
    encoder = load(model.name, device=device, precision=model.precision, image_size=model.image_size)
    if not isinstance(encoder, TorchEncoder):
        raise ModelError(f"{model.name}: an export cannot be trained; name the model it was made from")
    lora = config.lora
    if config.head == "linear":
        lora = lora.model_copy(update={"preset": "image"})
    elif encoder.context_length is None:
        raise ModelError(
            f"{model.name}: an image tower alone has no captions to train with; set head: linear, or choose a "
            "two-tower model"
        )
    if longer := [dim for dim in config.loss.dims if dim > encoder.dim]:
        raise ConfigError(
            f"loss.dims: the vectors of {model.name} have {encoder.dim} dimensions, fewer than "
            f"{', '.join(map(str, longer))}; leave those out"
        )
    tokens = _tokens(encoder, objective) if lora.tokens else []
    report = select_trainable(encoder, config.train, lora, config.seed, tokens=tokens)
    logit_scale = LogitScale(encoder, config.loss)
    train_adapters(encoder.model)
    if model.frozen_dtype != "fp32":
        encoder.cast_frozen(DTYPES[model.frozen_dtype])
    encoder.checkpointing(model.checkpointing)
    if model.compile:
        encoder.compile_towers(("text",) if config.train.views else TOWERS)  # the image tower once it is known if cut
    return Prepared(encoder, logit_scale, report)


def _tokens(encoder: TorchEncoder, objective: Objective | None) -> list[int]:
    """Of the words that name taught values; said where there are none.

    Raises:
        ConfigError: nobody said what is taught.
    """
    if objective is None:
        raise ConfigError(
            "lora.tokens: trains the words of values, and there is no objective that teaches any; leave it out"
        )
    tokens = distinctive_tokens(encoder, *value_words(objective))
    if not tokens:
        log.warning("lora.tokens does nothing: every word of the taught values is a word of texts that are to be kept")
    return tokens
