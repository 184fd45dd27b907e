"""Trains a config over the tiny towers: run_train.py CONFIG.yaml [unlike]

unlike: a process of another rank begins with other adapters, as where a library draws its numbers in another order.
"""

import os
import sys
from typing import Any
from unittest import mock

import tiny_models  # noqa: F401  # registers the tiny towers with timm

from clipadapt.config import Config
from clipadapt.processes.exchange import leave
from clipadapt.training import preparation, trainer


def unlike(config: Config, device: object, *others: Any) -> preparation.Prepared:
    """The model of a config, its adapters drawn anew in each process."""
    seed = config.seed + 100 * int(os.environ.get("RANK", "0"))
    return preparation.prepare(config.model_copy(update={"seed": seed}), str(device), *others)


if __name__ == "__main__":
    with mock.patch.object(trainer, "prepare", unlike if "unlike" in sys.argv else preparation.prepare):
        trainer.train(Config.load(sys.argv[1]))
    leave()
