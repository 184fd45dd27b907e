"""Two processes and one: the same loss, the same gradients, the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from safetensors.torch import load_file

from clipadapt.config import Config
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import lost_process_named
from clipadapt.runs import Run

SECTIONS: dict[str, Any] = {
    "loss": {"name": "attributes", "keep": 0.5},
    "augment": {"mixup": 0.3},
    "train": {"micro_batch": 4, "text_warmup": 2},
}


MINED: dict[str, Any] = {
    "loss": {"name": "multi_positive"},
    "train": {"micro_batch": 4, "hard_negatives": 0.5},
}


RECIPE: dict[str, Any] = {
    "loss": {"name": "attributes", "search": 1.0, "bank": 12, "value_vectors": 5.0, "wordings": 2, "anchor": 2.0,
             "answers": 1.0, "attribute_weights": {"baseColour": 0.0}},
    "train": {"micro_batch": 4, "text_warmup": 2, "average": 0.9},
    "eval": {"select_on": "smooth"},
}  # fmt: skip


PICTURES_FIRST: dict[str, Any] = {
    **RECIPE,
    "loss": {**RECIPE["loss"], "caption_weight": 0.0},
    "lora": {"tokens": True},
    "train": {**RECIPE["train"], "order": "pictures_first", "views": 1},
}


CACHED: dict[str, Any] = {
    "loss": {"name": "attributes", "keep": 0.5},
    "train": {"micro_batch": 4, "text_warmup": 2, "views": 2},
    "lora": {"plan": [["image.blocks.0.*", None], ["*.attention.{q,k,v,out}", 2], ["*", None]]},
}


# In float64 another sum would show. In float32 matrix products of other shapes round in other ways, and how far depends
# on the processor: up to 1e-6 of a gradient's norm on an Intel Xeon, 2.1e-6 on an AMD EPYC (torch 2.14).
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-6)])
@pytest.mark.parametrize("loss", ["softmax", "attributes"])
def test_first_step_is_the_same_in_two_processes(
    configured: Callable[..., Config], tmp_path: Path, loss: str, dtype: str, tolerance: float
):
    config = tmp_path / "config.yaml"
    config.write_text(configured(**SECTIONS | {"loss": {"name": loss, "keep": 0.5}}).to_yaml())
    results = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.safetensors"
        forked.run("step_bench.py", config, out, dtype, processes=processes, log=tmp_path / "log")
        results.append(load_file(out))
    one, two = results
    assert one.keys() == two.keys()
    assert len(one) > 16
    for name, value in one.items():
        assert float((two[name] - value).norm()) <= tolerance * float(value.norm()), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "sections",
    [SECTIONS, MINED, CACHED, RECIPE, PICTURES_FIRST],
    ids=["attributes", "mined", "cached", "recipe", "pictures_first"],
)
def test_a_whole_run_is_the_same_in_two_processes(
    configured: Callable[..., Config], tmp_path: Path, sections: dict[str, Any]
):
    adapters = []
    for processes in (1, 2):
        config = tmp_path / f"{processes}.yaml"
        config.write_text(configured(**sections, output_dir=str(tmp_path / f"run{processes}")).to_yaml())
        forked.run("run_train.py", config, processes=processes, log=tmp_path / "log")
        adapters.append(load_file(tmp_path / f"run{processes}" / "adapter" / "adapter_model.safetensors"))
    one, two = adapters
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_processes_that_begin_unlike_train_what_the_first_one_has(configured: Callable[..., Config], tmp_path: Path):
    """Averages and the base that terms compare with are copies of what all share, not of what each drew."""
    sections: dict[str, Any] = {
        "loss": {"name": "attributes", "keep": 0.5},
        "train": {"micro_batch": 4, "average": 0.9, "epochs": 1},
        "lora": {"options": {"init_lora_weights": False}},  # adapters that say something from the start
    }
    adapters = []
    for processes in (1, 2):
        config = tmp_path / f"{processes}.yaml"
        config.write_text(configured(**sections, output_dir=str(tmp_path / f"run{processes}")).to_yaml())
        forked.run("run_train.py", config, "unlike", processes=processes, log=tmp_path / "log")
        last = max((tmp_path / f"run{processes}" / "checkpoints").iterdir())
        adapters.append(load_file(last / "parameters.safetensors"))
    one, two = adapters
    assert any(name.startswith("average.") for name in one)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("cached", [{}, {"lora": CACHED["lora"], "train": {"views": 2}}], ids=["pictures", "tokens"])
def test_compiled_towers_train_the_same(
    configured: Callable[..., Config], tmp_path: Path, cached: dict[str, dict[str, Any]]
):
    """In processes of their own, where annotations are not checked: torch.compile cannot trace the checks."""
    losses = []
    for compiled in (False, True):
        config, out = tmp_path / f"{compiled}.yaml", tmp_path / f"run-{compiled}"
        section = {"micro_batch": 4, "epochs": 1, **cached.get("train", {})}
        sections: dict[str, Any] = {**cached, "model": {"compile": compiled}, "train": section}
        config.write_text(configured(**sections, output_dir=str(out)).to_yaml())
        forked.run("run_train.py", config, log=tmp_path / "log")
        losses.append([row["loss"] for row in Run.open(out).metrics() if "lr" in row])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("message", ["Connection closed by peer [127.0.0.1]:2222", "Timed out waiting 1800000ms"])
def test_a_lost_process_is_named_as_such(message: str):
    gone = r"a process of this run is gone.*start the same command again"
    with pytest.raises(TrainingError, match=gone), lost_process_named():
        raise RuntimeError(message)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes differ"), lost_process_named():
        raise RuntimeError("shapes differ")
