"""A run that is killed at any moment, again and again, ends with the adapter of one that never was."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clipadapt.config import Config
from clipadapt.training import checkpoints
from clipadapt.training.checkpoints import Progress

TESTS = Path(__file__).parents[1]
KILLS = 6


def started(config: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, str(TESTS / "run_train.py"), str(config)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_kill_9_at_random_moments(configured: Callable[..., Config], tmp_path: Path):
    sections: dict[str, Any] = {"train": {"epochs": 12, "checkpoint_every": 1}}
    files = {}
    for name in ("whole", "killed"):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(configured(**sections, output_dir=str(tmp_path / name)).to_yaml())
    assert started(files["whole"]).wait(timeout=300) == 0
    draw = random.Random(0)
    folder, kills = tmp_path / "killed" / "checkpoints", 0
    while kills < KILLS:
        # From its first checkpoint of this start on, at a moment that has nothing to do with what it is doing.
        before, process = checkpoints.latest(folder), started(files["killed"])
        while process.poll() is None and checkpoints.latest(folder) == before:
            pass
        try:
            process.wait(timeout=draw.uniform(0, 0.3))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
        found = checkpoints.latest(folder)
        assert found is not None and isinstance(checkpoints._state(found), Progress)
    assert kills >= 2
    assert started(files["killed"]).wait(timeout=300) == 0
    one, two = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in files)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
