"""A run that is killed at any moment, again and again, ends with the adapter of one that never was."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from safetensors.torch import load_file

from clipadapt.config import Config
from clipadapt.training import checkpoints
from clipadapt.training.checkpoints import Progress

KILLS = 6


@pytest.mark.slow
def test_kill_9_at_random_moments(configured: Callable[..., Config], tmp_path: Path):
    sections: dict[str, Any] = {"train": {"epochs": 12, "checkpoint_every": 1}}
    files = {}
    for name in ("whole", "killed"):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(configured(**sections, output_dir=str(tmp_path / name)).to_yaml())
    log = tmp_path / "log"
    forked.run("run_train.py", files["whole"], log=log)
    draw = random.Random(0)
    folder, kills = tmp_path / "killed" / "checkpoints", 0
    while kills < KILLS:
        # From its first checkpoint of this start on, at a moment that has nothing to do with what it is doing.
        before, process = checkpoints.latest(folder), forked.start("run_train.py", files["killed"], log=log)
        while process.exitcode is None and checkpoints.latest(folder) == before:
            time.sleep(0.002)
        process.join(draw.uniform(0, 0.3))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        found = checkpoints.latest(folder)
        assert found is not None and isinstance(checkpoints._state(found), Progress), log.read_text()
    assert kills >= 2
    forked.run("run_train.py", files["killed"], log=log)
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in files)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
