"""Checkpoints come back bit for bit, appear whole or not at all, and say what is wrong with them."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from torch import nn

from clipadapt.config import Train
from clipadapt.errors import StoreError, TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.training import checkpoints
from clipadapt.training.checkpoints import Epoch, Progress
from clipadapt.training.optim import adamw
from clipadapt.training.updates import Updates


def trained(seed: int, steps: int) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(seed)
    parameters = {
        "a.weight": nn.Parameter(torch.randn(3, 4, generator=generator)),
        "b.bias": nn.Parameter(torch.randn(4, generator=generator)),
    }
    optimizer = adamw(parameters, lr=0.1, weight_decay=0.01)
    for _ in range(steps):
        advance(parameters, optimizer)
    return parameters, optimizer


def advance(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for parameter in parameters.values():
        parameter.grad = parameter.detach().sin()
    optimizer.step()


def test_going_on_from_a_checkpoint_is_the_same_as_never_stopping(tmp_path: Path):
    parameters, optimizer = trained(0, steps=3)
    progress = Progress(step=3, epochs=[Epoch(loss=0.1, accuracy=0.3, chance=0.1, score=(0.1 + 0.2,))], best=0)
    progress.sums = {"loss": 1 / 3}
    folder = checkpoints.save(tmp_path, progress, parameters, optimizer)
    again, fresh = trained(1, steps=0)
    assert checkpoints.load(folder, again, fresh) == progress
    for _ in range(3):
        advance(parameters, optimizer)
        advance(again, fresh)
    for name, parameter in parameters.items():
        assert torch.equal(parameter, again[name])


def test_fp16s_scale_goes_on_growing_where_it_was(tmp_path: Path):
    """A scale grows after so many steps without an overflow, and those before a stop count."""
    left = nn.Parameter(torch.ones(2))

    def updates() -> Updates:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        scaler.scale(left.sum()).backward()  # makes its state
        return Updates({"left": left}, Train(), Processes(PartialState()), scaler=scaler)

    before, after = updates(), updates()
    before.loss_scale = (32.0, 2)
    folder = checkpoints.save(tmp_path, Progress(step=1, loss_scale=before.loss_scale), *trained(0, steps=1))
    after.loss_scale = checkpoints.load(folder, *trained(1, steps=0)).loss_scale
    assert after.loss_scale == (32.0, 2)
    after.clear()
    assert after._scaler is not None
    after._scaler.scale(left.sum()).backward()
    after.apply(1.0, 0.1, step=2, items=["1"])
    assert after.loss_scale == (64.0, 0)


def test_a_scale_of_an_earlier_version_is_read():
    assert Progress.model_validate({"loss_scale": 16.0}).loss_scale == (16.0, 0)


def test_only_plain_files_are_written(tmp_path: Path):
    folder = checkpoints.save(tmp_path, Progress(step=7), *trained(0, steps=1))
    assert folder.name == "step-00000007"
    assert sorted(path.name for path in folder.iterdir()) == [
        "optimizer.safetensors",
        "parameters.safetensors",
        "state.json",
    ]


def test_latest_and_prune_go_by_steps(tmp_path: Path):
    parameters, optimizer = trained(0, steps=1)
    assert checkpoints.latest(tmp_path / "none yet") is None
    for step in (2, 10, 9):
        checkpoints.save(tmp_path, Progress(step=step), parameters, optimizer)
    leftover = tmp_path / ".step-00000011.staging-abc"
    leftover.mkdir()
    latest = checkpoints.latest(tmp_path)
    assert latest is not None and latest.name == "step-00000010"
    checkpoints.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000009", "step-00000010"]


@pytest.mark.parametrize("name", ["parameters.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("harm", ["truncated", "missing", "flipped"])
def test_a_harmed_checkpoint_is_refused_by_name(tmp_path: Path, name: str, harm: str):
    parameters, optimizer = trained(0, steps=2)
    folder = checkpoints.save(tmp_path, Progress(step=2), parameters, optimizer)
    file = folder / name
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-9] if harm == "truncated" else content[:-9] + b"\x01" + content[-8:])
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with pytest.raises(TrainingError, match=r"step-00000002.*remove this folder"):
        checkpoints.load(folder, parameters, optimizer)
    assert all(torch.equal(parameter, before[name]) for name, parameter in parameters.items())


def test_another_config_is_refused(tmp_path: Path):
    parameters, optimizer = trained(0, steps=1)
    folder = checkpoints.save(tmp_path, Progress(step=1), parameters, optimizer)
    more = parameters | {"c.weight": nn.Parameter(torch.zeros(1, 1))}
    with pytest.raises(TrainingError, match=r"1 differ, first c\.weight"):
        checkpoints.load(folder, more, adamw(more, lr=0.1, weight_decay=0.0))
    wider = parameters | {"b.bias": nn.Parameter(torch.zeros(5))}
    with pytest.raises(TrainingError, match=r"b\.bias has shape \(4,\), the config wants \(5,\)"):
        checkpoints.load(folder, wider, adamw(wider, lr=0.1, weight_decay=0.0))


def test_another_schema_is_refused(tmp_path: Path):
    folder = checkpoints.save(tmp_path, Progress(step=1), *trained(0, steps=1))
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"schema_version": 2}))
    with pytest.raises(TrainingError, match="schema 2"):
        checkpoints.load(folder, *trained(0, steps=0))


@pytest.mark.parametrize("write", range(4))
def test_a_write_that_fails_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int):
    parameters, optimizer = trained(0, steps=1)
    checkpoints.save(tmp_path, Progress(step=1), parameters, optimizer)
    calls = iter(range(10))

    def failing(function):
        def wrapped(*args, **kwargs):
            if next(calls) == write:
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(checkpoints, "save_file", failing(checkpoints.save_file))
    monkeypatch.setattr(checkpoints, "sha256_file", failing(checkpoints.sha256_file))
    with pytest.raises(StoreError, match=r"step-00000002.*space"):
        checkpoints.save(tmp_path, Progress(step=2), parameters, optimizer)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    checkpoints.load(tmp_path / "step-00000001", *trained(0, steps=0))
