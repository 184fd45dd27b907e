"""The baselines by name: what each changes in a config, and nothing of how it is run or measured.

A recipe is written over the config's own data, prompts and evaluation, so that all see the same labels, splits and
suite. Which attributes are trained (loss.attribute_weights) is taken from the config too: it says what the task is.
Learning rates are those that are usual for a recipe; a tuning budget (`--rates`) is open to every one alike.

    clip_lora    Zanella & Ben Ayed, "Low-rank few-shot adaptation of vision-language models", CVPR 2024 workshops:
                 rank 2, alpha 1 over the root of the rank, q/k/v of both towers, dropout 0.25, AdamW 2e-4 with decay
                 0.01, batch 32, cosine, scale 100, cross-entropy over the texts of the class names of one attribute;
                 its crops. With several attributes: the mean over them.
    plain_lora   LoRA of rank 8 on q/k/v/out of both towers, CLIP's softmax over captions, the model's own scale
    norms        LayerNorms alone, the same loss
    value_vectors the value vectors that ours begins with, learned on the frozen pictures in both directions, alone
    full         every weight, the same loss, at a tenth of LoRA's rate
    wise_ft      full, halfway back to the base (Wortsman et al., CVPR 2022)
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from clipadapt.config import Config

Kind = Literal["base", "run"]
NAMES: Mapping[str, Kind] = {
    "zero_shot_one": "base",
    "zero_shot": "base",
    "value_vectors": "base",
    "linear_probe": "run",
    "norms": "run",
    "clip_lora": "run",
    "plain_lora": "run",
    "full": "run",
    "wise_ft": "run",
    "ours": "run",
}
TRAINED_AS: Mapping[str, str] = {"wise_ft": "full"}
"""Names that are measured on the run of another one."""
INTERPOLATED = 0.5
"""Strength of wise_ft, merged into the weights of both towers."""
FREE = ("linear_probe",)
"""Recipes without a learning rate: they are fitted, on pictures that were encoded once."""

_SOFTMAX: dict[str, Any] = {"name": "softmax", "logit_scale": "frozen"}
_LORA: dict[str, Any] = {"preset": "both", "rank": 8, "alpha": 16, "dropout": 0.05}
_QKV = [["*.attention.{q,k,v}", 2], ["*.attention.out", None], ["*.mlp.*", None], ["*.norm.*", None]]


def recipe(name: str, config: Config, *, items: int, passes: int, balance: str | None, rate: float | None) -> Config:
    """The config of one baseline, its epochs as many whole ones as `passes` pictures allow, one at least.

    Args:
        items: of the training split.
        balance: train.balance for every trained name; null: as the config has it.
        rate: train.lr; null: the recipe's own.
    """
    raw = config.model_dump(mode="json")
    raw |= {"name": f"{config.name}_{name}", "export": [], "index": None}
    raw["eval"]["suite"] = None
    if balance is not None:
        raw["train"]["balance"] = balance
    if name != "ours":
        raw["loss"] = _loss(name, raw["loss"]["attribute_weights"])
        raw["lora"] = _lora(name)
        raw["train"] |= {
            "text_warmup": 0,
            "text_warmup_lr": None,
            "order": "texts_first",
            "weight_decay": 0.01,
            "patience": None,
            **_train(name),
        }
    if name == "clip_lora":
        raw["augment"] = {"crop": [0.08, 1.0], "flip": True, "jitter": 0.0}
    if name == "linear_probe":
        raw["head"] = "linear"
    if rate is not None and name not in FREE:
        raw["train"]["lr"] = rate
    size = raw["train"]["batch_size"] = min(raw["train"]["batch_size"], items)
    possible = max(1, passes // (math.ceil(items / size) * size))
    raw["train"]["epochs"] = min(raw["train"]["epochs"], possible) if name == "ours" else possible
    raw["train"]["micro_batch"] = min(raw["train"]["micro_batch"], size)
    return Config.model_validate(raw)


def picture_passes(name: str, config: Config, *, items: int) -> int:
    """Pictures that went forward and back through the image tower."""
    if name in FREE:
        return 0
    size = config.train.batch_size
    return config.train.epochs * math.ceil(items / size) * size


def _loss(name: str, weights: Mapping[str, float]) -> dict[str, Any]:
    if name == "clip_lora":
        own = {"name": "attributes", "logit_adjustment": 0.0, "caption_weight": 0.0, "scale": 100.0}
        return {**own, "attribute_weights": weights}
    return {"attribute_weights": weights} if name == "linear_probe" else _SOFTMAX


def _lora(name: str) -> dict[str, Any]:
    if name == "clip_lora":
        return {**_LORA, "rank": 2, "alpha": 1, "dropout": 0.25, "plan": _QKV, "options": {"use_rslora": True}}
    return _LORA


def _train(name: str) -> dict[str, Any]:
    return {
        "linear_probe": {"trainable": "head"},
        "norms": {"trainable": "norms", "lr": 1e-3},
        "clip_lora": {"trainable": "adapters", "lr": 2e-4, "batch_size": 32, "warmup": 0.0, "clip": None},
        "plain_lora": {"trainable": "adapters", "lr": 2e-4},
        "full": {"trainable": "all", "lr": 2e-5},
    }[name]
