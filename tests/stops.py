"""Runs that are stopped: what a stop looks like, what two runs are compared by, and recipes that have much to lose."""

from typing import Any

import torch
from safetensors.torch import load_file

from clipadapt.runs import Run


class Stopped(BaseException):
    """What a kill looks like from inside."""


def adapter(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def assert_same_bits(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]


RECIPE: dict[str, Any] = {
    "loss": {
        "name": "attributes", "scale": 30.0, "caption_weight": 0.1, "search": 1.0, "bank": 12, "value_vectors": 5.0,
        "wordings": 2, "anchor": 2.0, "answers": 1.0, "attribute_weights": {"baseColour": 0.0},
    },
    "lora": {"tokens": True},
    "train": {"checkpoint_every": 1, "keep_checkpoints": 9, "text_warmup": 3, "average": 0.9, "views": 1},
    "eval": {"select_on": "smooth"},
}  # fmt: skip
"""Everything that a run may go by besides its batches."""


PICTURES_FIRST: dict[str, Any] = {
    **RECIPE,
    "loss": {**RECIPE["loss"], "caption_weight": 0.0},
    "train": {**RECIPE["train"], "order": "pictures_first"},
}
"""The image tower by value vectors alone, and the text tower after it."""
