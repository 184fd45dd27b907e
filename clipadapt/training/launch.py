"""Accelerate for one run: processes, device and trackers.

Precision is left to the encoder (see preparation.py), but for fp16, whose gradients Accelerate scales. Nothing here
trains.
"""

import importlib.util

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from clipadapt.config import Config
from clipadapt.errors import ConfigError
from clipadapt.runs import Run

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def accelerator_for(config: Config, run: Run) -> Accelerator:
    """The accelerator of this process, its trackers started; TensorBoard writes to the run's folder `trackers`.

    Raises:
        ConfigError: a tracker that is not installed, or fp16 without a GPU.
    """
    for tracker in config.train.trackers:
        if not any(importlib.util.find_spec(package) for package in _PACKAGES[tracker]):
            raise ConfigError(f"train.trackers: {tracker} is not installed; pip install {tracker}, or take it out")
    half = config.model.precision == "fp16"
    try:
        accelerator = Accelerator(
            mixed_precision="fp16" if half else None,
            log_with=list(config.train.trackers) or None,  # pyright: ignore[reportArgumentType]  # names are accepted
            project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.path / "trackers")),
        )
    except ValueError as error:
        if half:
            raise ConfigError(f"model.precision fp16 cannot be used here ({error}); set it to bf16 or fp32") from error
        raise
    if half and accelerator.scaler is None:
        raise ConfigError("model.precision fp16 needs a GPU; set it to bf16 or fp32")
    if config.train.trackers:
        accelerator.init_trackers(config.name)
    return accelerator
