"""A run that is killed has the adapter that its last checkpoint names, wherever between the two it was killed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from stops import PICTURES_FIRST, Stopped, adapter, assert_same_bits, without_time

from clipadapt.config import Config
from clipadapt.runs import Run
from clipadapt.training import checkpoints, keeping
from clipadapt.training.checkpoints import Epoch, Progress
from clipadapt.training.trainer import train

Make = Callable[..., Config]
TEXTS = 8
"""Number of the checkpoint after the text phase: one before the first step, six of steps, and this."""


def stop_before(monkeypatch: pytest.MonkeyPatch, where: str, number: int) -> None:
    """Makes the process end right before call `number` of a function of the trainer's."""
    module, name = where.split(".")
    part = {"checkpoints": checkpoints, "keeping": keeping}[module]
    real, count = getattr(part, name), iter(range(1, 1000))

    def stopping(*arguments: Any) -> Any:
        if next(count) == number:
            raise Stopped
        return real(*arguments)

    monkeypatch.setattr(part, name, stopping)


@pytest.mark.slow
def test_stopped_between_an_adapter_and_its_checkpoint(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Written and no checkpoint yet: of the start and of the texts at the end. Named by one and not in place yet."""
    whole = train(configured(**PICTURES_FIRST, output_dir=str(tmp_path / "whole")))
    for where, number in [("checkpoints.save", 1), ("checkpoints.save", TEXTS), ("keeping.put_in_place", TEXTS + 1)]:
        path = tmp_path / f"{where}-{number}"
        config = configured(**PICTURES_FIRST, output_dir=str(path))
        with monkeypatch.context() as patched:
            stop_before(patched, where, number)
            with pytest.raises(Stopped):
                train(config)
        assert list(path.glob("adapter.*"))
        run = train(config)
        assert_same_bits(adapter(run), adapter(whole))
        values = "values.safetensors"
        assert_same_bits(load_file(run.adapter / values), load_file(whole.adapter / values))
        assert without_time(run.metrics()) == without_time(whole.metrics())
        assert not list(path.glob("adapter.*"))


def folders(path: Path, **contents: str) -> Run:
    """A run with adapter folders of one file each; `_` in a name stands for what is not a letter."""
    for name, content in contents.items():
        folder = path / name.replace("__", ".").replace("_", "-")
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_text(content)
    return Run(path)


def contents(run: Run) -> dict[str, str]:
    return {one.name: (one / "adapter_model.safetensors").read_text() for one in run.path.glob("adapter*")}


@pytest.mark.slow
def test_texts_are_not_trained_twice_where_the_last_checkpoint_was_lost(configured: Make, tmp_path: Path):
    """The adapter has trained texts then, and the checkpoint to go on from knows of none."""
    whole = train(configured(**PICTURES_FIRST, output_dir=str(tmp_path / "whole")))
    before = adapter(whole)
    shutil.rmtree(whole.checkpoints / "step-00000006")
    assert_same_bits(adapter(train(whole.config)), before)


def test_an_adapter_that_no_checkpoint_names_is_not_put_in_place(tmp_path: Path):
    """On a GPU an epoch that is repeated may turn out worse than before, and is not the best then."""
    run = folders(tmp_path, adapter="of epoch 1", adapter__epoch_2="of epoch 2")
    keeping.put_in_place(run, Progress(best=1))
    assert contents(run) == {"adapter": "of epoch 1"}


def test_the_adapter_that_a_checkpoint_names_is_put_in_place(tmp_path: Path):
    run = folders(tmp_path, adapter="of epoch 1", adapter__epoch_2="of epoch 2", adapter__epoch_1="older")
    keeping.put_in_place(run, Progress(best=2))
    assert contents(run) == {"adapter": "of epoch 2"}
    keeping.put_in_place(run, Progress(best=2))
    assert contents(run) == {"adapter": "of epoch 2"}


@pytest.mark.parametrize(
    ("progress", "kept"),
    [
        (Progress(), None),
        (Progress(best=0), "epoch-0"),
        (Progress(best=3), "epoch-3"),
        (Progress(best=3, texts=(0.5,)), "texts"),
    ],
)
def test_a_checkpoint_names_the_adapter_that_is_kept(progress: Progress, kept: str | None):
    assert progress.kept == kept


def test_what_lies_beside_an_adapter_is_its_owners(tmp_path: Path):
    run = folders(tmp_path, adapter="of epoch 1", adapter__bak="a copy")
    (tmp_path / "adapter.zip").write_bytes(b"another")
    keeping.put_in_place(run, Progress(best=1))
    assert (tmp_path / "adapter.zip").exists() and (tmp_path / "adapter.bak").is_dir()


def test_killed_within_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Half of what was written is gone; the other half must not take the place of the whole."""
    run = folders(tmp_path, adapter="of epoch 1", adapter__texts="with texts")
    (tmp_path / "adapter.texts" / "values.safetensors").write_text("vectors")
    real = keeping.shutil.rmtree

    def half(path: Path, **options: Any) -> None:
        if "texts" in Path(path).name:
            (Path(path) / "adapter_model.safetensors").unlink()
            raise Stopped
        real(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(keeping.shutil, "rmtree", half)
        with pytest.raises(Stopped):
            keeping.put_in_place(run, Progress(best=1, texts=(0.5,)))
    keeping.put_in_place(run, Progress(best=1, texts=(0.5,)))
    assert contents(run) == {"adapter": "with texts"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adapter"]


def epoch(score: float) -> Epoch:
    return Epoch(loss=1.0, accuracy=None, chance=None, score=(score, 0.0))


@pytest.mark.parametrize(
    ("progress", "metric", "sections", "said", "no_better"),
    [
        (Progress(first=(0.3, 0.0), best=2, epochs=[epoch(0.4), epoch(0.5)]), "smooth", {}, "epoch 2 (0.500)", False),
        (Progress(first=(0.6, 0.0), best=1, epochs=[epoch(0.5)]), "smooth", {}, "epoch 1 (0.500)", True),
        (Progress(first=(0.3, 0.0), start=(0.4, 0.0), best=0), "smooth", {}, "the text warm-up (0.400)", False),
        (Progress(first=(-2.0, 0.0), best=1, epochs=[epoch(-1.5)]), "loss", {}, "epoch 1 (1.500)", False),
        (Progress(first=(0.3, 0.0), start=(0.4, 0.0), best=0, texts=(0.45, 0.0)), "smooth", PICTURES_FIRST,
         "the value vectors (0.400; 0.450 as the run keeps it, with what was learned after the epochs)", False),
        (Progress(first=(0.3, 0.0), best=1, epochs=[epoch(0.5)], texts=(0.2, 0.0)), "smooth", PICTURES_FIRST,
         "epoch 1 (0.500; 0.200 as the run keeps it, with what was learned after the epochs)", True),
        (Progress(best=1, epochs=[epoch(0.5)]), "smooth", {}, "epoch 1 (0.500)", False),
    ],
)  # fmt: skip
def test_what_is_said_of_the_adapter_that_is_kept(
    configured: Make, progress: Progress, metric: str, sections: dict[str, Any], said: str, no_better: bool
):
    assert keeping.summary(progress, configured(**sections), metric) == f"the best by {metric} on tune is {said}"
    assert keeping.no_better(progress) == no_better
