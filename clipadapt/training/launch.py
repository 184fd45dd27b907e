"""Accelerate for one run: processes, device and trackers.

Precision is left to the encoder (see preparation.py), but for fp16, whose gradients Accelerate scales. Nothing here
trains.
"""

import importlib.util
import os

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from clipadapt.config import Config
from clipadapt.errors import ConfigError
from clipadapt.processes import refuse_broken_world
from clipadapt.processes.exchange import only_processors
from clipadapt.runs import Run

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def accelerator_for(config: Config, run: Run) -> Accelerator:
    """The accelerator of this process, its trackers started; TensorBoard writes to the run's folder `trackers`.

    Raises:
        ConfigError: a tracker that is not installed, fp16 without a GPU, or a launch whose processes did not meet.
    """
    for tracker in config.train.trackers:
        if not any(importlib.util.find_spec(package) for package in _PACKAGES[tracker]):
            raise ConfigError(f"train.trackers: {tracker} is not installed; pip install {tracker}, or take it out")
    half = config.model.precision == "fp16"
    try:
        accelerator = Accelerator(
            cpu=only_processors(),
            mixed_precision="fp16" if half else None,
            log_with=list(config.train.trackers) or None,  # pyright: ignore[reportArgumentType]  # names are accepted
            project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.path / "trackers")),
        )
    except ValueError as error:
        if half:
            raise ConfigError(f"model.precision fp16 cannot be used here ({error}); set it to bf16 or fp32") from error
        raise
    refuse_broken_world(accelerator.num_processes)
    if half and accelerator.scaler is None:
        raise ConfigError("model.precision fp16 needs a GPU; set it to bf16 or fp32")
    _use_cores(accelerator)
    if config.train.trackers:
        accelerator.init_trackers(config.name)
    return accelerator


def _use_cores(accelerator: Accelerator) -> None:
    """`accelerate launch` gives a process on a CPU one thread unless told otherwise; here it takes its share of cores.

    A number of threads that somebody asked for (--num_cpu_threads_per_process, other than 1) is left as it is.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and accelerator.device.type == "cpu" and torch.get_num_threads() == 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
