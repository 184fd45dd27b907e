"""Whole runs of a tiny model."""

from collections.abc import Callable

from clipadapt.config import Config
from clipadapt.training.trainer import train


def test_a_run_leaves_adapter_checkpoints_and_metrics(configured: Callable[..., Config]):
    run = train(configured())
    assert (run.adapter / "adapter_model.safetensors").is_file()
    rows = run.metrics()
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
