"""Whole runs of a tiny model: what they leave, how they stop, and that stopping changes nothing."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stops import PICTURES_FIRST, RECIPE, Stopped, adapter, assert_same_bits, without_time

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source
from clipadapt.errors import ConfigError, TrainingError
from clipadapt.runs import Run
from clipadapt.towers.load import load
from clipadapt.towers.value_vectors import ValueVectors
from clipadapt.training import checkpoints, preparation
from clipadapt.training.objective import Objective
from clipadapt.training.selection import Selection
from clipadapt.training.step import Step
from clipadapt.training.trainer import train

Make = Callable[..., Config]


def stop_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Makes the process end right after its checkpoint number `saves`."""
    real, count = checkpoints.save, iter(range(1, 1000))

    def save(*args: Any) -> Path:
        folder = real(*args)
        if next(count) == saves:
            raise Stopped
        return folder

    monkeypatch.setattr("clipadapt.training.checkpoints.save", save)


def test_a_run_leaves_adapter_checkpoints_and_metrics(configured: Make, capsys: pytest.CaptureFixture[str]):
    run = train(configured())
    rows = run.metrics()
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["when"] for row in rows if "when" in row] == ["before", "epoch 1", "epoch 2"]
    assert rows[-1].keys() >= {"tune_balanced_accuracy", "tune_rare_balanced_accuracy", "tune_top1"}
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000003", "step-00000006"]
    encoder = load(f"run:{run.path}")
    assert encoder.encode_texts(["a red shirt"]).shape == (1, encoder.dim)
    said = capsys.readouterr().err
    assert "image: 1,024 of 47,288 parameters trained (2.17%), 8 adapters" in said
    assert "text: 1,024 of" in said


def test_training_lowers_the_loss(configured: Make):
    run = train(configured(loss={"name": "attributes"}, train={"epochs": 8}))
    losses = [row["loss"] for row in run.metrics() if "lr" in row]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_mixed_pictures_have_no_accuracy_to_judge_by(configured: Make, capsys: pytest.CaptureFixture[str]):
    loss = {"name": "attributes", "caption_weight": 0.0}
    run = train(configured(loss=loss, augment={"mixup": 0.3}, train={"batch_size": 18, "micro_batch": 18}))
    steps = [row for row in run.metrics() if "lr" in row]
    assert steps and not any("accuracy" in row for row in steps)
    said = capsys.readouterr().err
    assert "epoch 2: loss" in said and "where chance is" not in said and "collapsed" not in said


SECTIONS: dict[str, Any] = {
    "train": {"checkpoint_every": 1, "keep_checkpoints": 9, "text_warmup": 2, "balance": "sqrt"},
    "loss": {"name": "attributes", "keep": 0.5, "logit_scale": "trained"},
    "augment": {"mixup": 0.3},
}


MINED: dict[str, Any] = {
    "train": {"checkpoint_every": 1, "keep_checkpoints": 9, "hard_negatives": 0.5},
    "loss": {"name": "multi_positive"},
}


@pytest.fixture
def whole(configured: Make, tmp_path: Path) -> Run:
    return train(configured(**SECTIONS, output_dir=str(tmp_path / "whole")))


@pytest.mark.parametrize("saves", [1, 3, 4])
def test_stopped_and_resumed_ends_with_the_same_bits(
    configured: Make, whole: Run, monkeypatch: pytest.MonkeyPatch, saves: int
):
    assert_resumes(configured, whole, monkeypatch, saves)


@pytest.mark.slow
@pytest.mark.parametrize("saves", [2, 5, 6, 7])
def test_stopped_and_resumed_ends_with_the_same_bits_at_every_checkpoint(
    configured: Make, whole: Run, monkeypatch: pytest.MonkeyPatch, saves: int
):
    assert_resumes(configured, whole, monkeypatch, saves)


@pytest.mark.parametrize("saves", [1, 3])
def test_value_vectors_bank_and_average_are_the_same_after_a_stop(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
):
    whole = train(configured(**RECIPE, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, saves, RECIPE)


def test_texts_that_are_held_are_held_where_the_base_had_them_after_a_stop_too(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sections: dict[str, Any] = {
        "loss": {"name": "attributes", "anchor": 5.0},
        "train": {"checkpoint_every": 1, "keep_checkpoints": 9},
    }
    whole = train(configured(**sections, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, 3, sections)


def test_first_dimensions_are_trained_as_well_and_the_same_after_a_stop(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sections = {**RECIPE, "loss": {**RECIPE["loss"], "dims": [8, 4]}}
    whole = train(configured(**sections, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, 3, sections)


def test_dimensions_that_the_model_does_not_have_are_refused(configured: Make):
    with pytest.raises(ConfigError, match=r"loss.dims: the vectors of .* have \d+ dimensions, fewer than 4096"):
        train(configured(loss={"dims": [4096, 4]}))


@pytest.mark.parametrize("saves", [1, 4, 7])
def test_texts_that_come_last_are_the_same_after_a_stop(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
):
    """Stopped before the first epoch, within the second, and between the last epoch and the texts."""
    whole = train(configured(**PICTURES_FIRST, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, saves, PICTURES_FIRST)


def test_pictures_learn_without_texts_and_texts_follow(configured: Make):
    """In the epochs the text tower stays as it is; afterwards it alone moves, from the best epoch's pictures."""
    seen: list[dict[str, torch.Tensor]] = []

    class Watch:
        def on_epoch(self, state: Any, figures: Any) -> None:
            seen.append({name: one.detach().clone() for name, one in state.encoder.model.named_parameters()
                         if one.requires_grad and (".lora_B." in name or "trainable_tokens" in name)})  # fmt: skip

    config = configured(**PICTURES_FIRST)
    run = train(config, callbacks=[Watch()])
    of_text = [name for name in seen[-1] if not name.startswith("visual.")]
    (words,) = [name for name in of_text if "trainable_tokens" in name]
    assert all(not epoch[name].any() for epoch in seen for name in of_text if name != words) and len(of_text) > 1
    assert torch.equal(seen[0][words], seen[-1][words])
    assert any(epoch[name].any() for epoch in seen for name in epoch if name.startswith("visual."))
    kept = adapter(run)
    assert any(one.any() for name, one in kept.items() if ".lora_B" in name and "visual." not in name)
    (own,) = [one for name, one in kept.items() if "trainable_tokens" in name]
    assert (own != seen[-1][words]).any(1).all(), "every word that is taught learns"
    assert [row["when"] for row in run.metrics() if "when" in row] == [
        "before", "with value vectors", "epoch 1", "epoch 2", "with value vectors learned again",
        "after the text warm-up",
    ]  # fmt: skip
    logged = [row for row in run.metrics() if "lr" in row]
    assert all("recognise vectors" in row and "recognise texts" not in row for row in logged)
    assert (run.adapter / "values.safetensors").is_file()


@pytest.mark.parametrize("better", [True, False])
def test_value_vectors_are_learned_again_from_the_pictures_and_kept_where_tune_is_better_for_it(
    configured: Make, monkeypatch: pytest.MonkeyPatch, better: bool
):
    real, scores, tables = Selection.measure, iter([1.0, 2.0, 3.0, 2.5, 4.0 if better else 3.0, 5.0]), []

    def measure(self: Selection, encoder: Any, logit_scale: Any, table: Any) -> Any:
        _, figures = real(self, encoder, logit_scale, table)
        tables.append({name: table.vectors(name).detach().clone() for name in table.values})
        return (next(scores), 0.0), figures

    monkeypatch.setattr(Selection, "measure", measure)
    sections = {**PICTURES_FIRST, "train": {**PICTURES_FIRST["train"], "text_warmup": 0}, "lora": {"preset": "image"}}
    run = train(configured(**sections))
    kept = ValueVectors.beside(run.adapter)
    best, again, last = tables[2], tables[4], tables[5]
    assert kept is not None and len(tables) == 6
    for name in best:
        assert not torch.allclose(best[name], again[name], atol=1e-3)
        torch.testing.assert_close(last[name], again[name] if better else best[name])
        np.testing.assert_allclose(kept.attributes[name].vectors, last[name], atol=1e-6)


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"loss": {"value_vectors": 0.0}}, "set loss.name to attributes and loss.value_vectors above 0"),
        ({"loss": {"caption_weight": 0.5}}, "set loss.caption_weight and loss.keep to 0"),
        ({"train": {"text_warmup": 0}}, "set it above 0, or lora.preset to image"),
    ],
)
def test_what_pictures_first_needs(configured: Make, sections: dict[str, Any], fault: str):
    mixed = {name: {**PICTURES_FIRST.get(name, {}), **sections.get(name, {})} for name in ("loss", "train", "eval")}
    with pytest.raises(ValueError, match=re.escape("train.order pictures_first: ")) as caught:
        configured(**mixed)
    assert fault in str(caught.value)


@pytest.mark.parametrize("saves", [1, 4])
def test_mined_batches_are_the_same_after_a_stop(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
):
    whole = train(configured(**MINED, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, saves, MINED)


@pytest.mark.parametrize("saves", [1, 3])
def test_a_source_in_shards_is_trained_by_windows_and_the_same_after_a_stop(
    configured: Make, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
):
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "cache"))
    source = open_source(material / "shop")
    write_shards(source, {split: Catalogue.of(source, split) for split in source.splits()}, "memory://shop", rows=5)
    learning = {**SECTIONS["train"], "balance": "none"}  # which windows do not have
    sections = {**SECTIONS, "train": learning, "data": {"source": "memory://shop", "window": 2}}
    whole = train(configured(**sections, output_dir=str(tmp_path / "whole")))
    assert_resumes(configured, whole, monkeypatch, saves, sections)
    assert list((tmp_path / "cache/shards").glob("*.parquet"))


def assert_resumes(
    configured: Make, whole: Run, monkeypatch: pytest.MonkeyPatch, saves: int, sections: dict[str, Any] = SECTIONS
) -> None:
    config = configured(**sections)
    with monkeypatch.context() as patched:
        stop_after(patched, saves)
        with pytest.raises(Stopped):
            train(config)
    run = train(config)
    assert_same_bits(adapter(run), adapter(whole))
    last = "step-00000006/optimizer.safetensors"
    assert_same_bits(load_file(run.checkpoints / last), load_file(whole.checkpoints / last))
    assert without_time(run.metrics()) == without_time(whole.metrics())


def test_a_finished_run_is_returned_as_it_is(configured: Make, monkeypatch: pytest.MonkeyPatch):
    config = configured(train={"epochs": 1})
    before = adapter(train(config))
    monkeypatch.setattr(Step, "both", None)
    assert_same_bits(adapter(train(config)), before)


def test_a_lost_adapter_is_not_passed_over(configured: Make, monkeypatch: pytest.MonkeyPatch):
    config = configured()
    with monkeypatch.context() as patched:
        stop_after(patched, 2)  # the first epoch's adapter is in place
        with pytest.raises(Stopped):
            train(config)
    run = Run.open(config.output_dir)
    run.adapter.rename(run.path / "elsewhere")
    with pytest.raises(TrainingError, match=r"adapter: missing.*restore it"):
        train(config)


def test_rows_of_other_tokens_are_not_gone_on_from(configured: Make, monkeypatch: pytest.MonkeyPatch):
    """Titles or wordings that changed choose other words: what was learned for one is not put on another."""
    config = configured(**PICTURES_FIRST)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(Stopped):
            train(config)
    real = preparation.distinctive_tokens
    monkeypatch.setattr(preparation, "distinctive_tokens", lambda *arguments: [one + 1 for one in real(*arguments)])
    with pytest.raises(
        TrainingError, match=r"lora\.tokens chose other tokens then than now.*checkpoints to start anew"
    ):
        train(config)


@pytest.mark.parametrize("trouble", ["loss", "gradient"])
def test_a_number_that_is_none_stops_with_step_and_items(
    configured: Make, monkeypatch: pytest.MonkeyPatch, trouble: str
):
    config = configured()
    real = Objective.loss
    calls = iter(range(100))

    def poisoned(self: Objective, text_batch: Any, image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        outcome = real(self, text_batch, image, *args, **kwargs)
        if next(calls) != 4:
            return outcome
        nothing = image.sum() * 0
        return outcome._replace(loss=outcome.loss + (math.nan if trouble == "loss" else nothing.sqrt()))

    with monkeypatch.context() as patched:
        patched.setattr(Objective, "loss", poisoned)
        with pytest.raises(TrainingError, match=rf"step 4: the {trouble}.*items \d{{4}}.*train\.lr"):
            train(config)
    latest = checkpoints.latest(Run.open(config.output_dir).checkpoints)
    assert latest is not None and latest.name == "step-00000003"
    assert len([row for row in train(config).metrics() if "lr" in row]) == 6


def test_exhausted_memory_names_the_setting(configured: Make, monkeypatch: pytest.MonkeyPatch):
    def exhausted(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Step, "both", exhausted)
    with pytest.raises(TrainingError, match=r"train\.micro_batch \(now 8\)"):
        train(configured())


def test_patience_ends_a_run_that_gets_no_better(configured: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.training.selection.Selection.measure", lambda *_: ((0.5,), {"top1": 0.5}))
    run = train(configured(train={"epochs": 6, "patience": 2}))
    assert [row["when"] for row in run.metrics() if "when" in row] == ["before", "epoch 1", "epoch 2", "epoch 3"]


def test_the_best_epoch_is_kept_not_the_last(configured: Make, monkeypatch: pytest.MonkeyPatch):
    scores = iter([0.1, 0.3, 0.9, 0.9, 0.2])
    monkeypatch.setattr(
        "clipadapt.training.selection.Selection.measure", lambda *_: ((score := next(scores),), {"top1": score})
    )
    run = train(configured(train={"epochs": 4, "keep_checkpoints": 9}))
    second = load_file(run.checkpoints / "step-00000006" / "parameters.safetensors")
    saved = adapter(run)
    for name, tensor in second.items():
        assert torch.equal(saved["base_model.model." + name.replace(".default", "")], tensor)
    state = json.loads((run.checkpoints / "step-00000012" / "state.json").read_text())
    assert state["progress"]["best"] == 2


@pytest.mark.parametrize("trainable", ["norms", "all"])
def test_norms_or_everything_can_be_trained(configured: Make, trainable: str):
    config = configured(train={"trainable": trainable, "epochs": 1, "lr": 1e-3})
    run = train(config)
    base, adapted = load(config.model.name), load(f"run:{run.path}")
    text = ["a striped shirt"]
    assert not torch.allclose(base.encode_texts(text), adapted.encode_texts(text))


def test_a_tracker_that_is_not_installed_is_refused(configured: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.training.launch.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="wandb is not installed; pip install wandb"):
        train(configured(train={"trackers": ["wandb"]}))


def test_tensorboard_gets_the_figures(configured: Make):
    run = train(configured(train={"trackers": ["tensorboard"], "epochs": 1}))
    assert list((run.path / "trackers").rglob("events.out.tfevents.*"))


def test_half_precision_without_a_gpu_is_refused(configured: Make):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="fp16"):
        train(configured(model={"precision": "fp16"}))


def test_options_that_contradict_are_refused(configured: Make):
    with pytest.raises(ConfigError, match=r"frozen_dtype bf16 needs model\.precision bf16"):
        train(configured(model={"frozen_dtype": "bf16", "precision": "fp32"}))
    with pytest.raises(TrainingError, match="text_warmup: the text tower does not learn"):
        train(configured(train={"text_warmup": 1}, lora={"preset": "image"}))


@pytest.mark.parametrize("frozen", ["fp32", "bf16"])
def test_bf16_trains(configured: Make, frozen: str):
    run = train(configured(model={"precision": "bf16", "frozen_dtype": frozen}, train={"epochs": 1}))
    assert all(tensor.dtype == torch.float32 for tensor in adapter(run).values())


def test_texts_that_the_tower_does_not_read_to_their_end_are_said(
    configured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Templates of a hundred words in front of what differs."""
    words = tmp_path / "long.yaml"
    filler = " ".join(["very"] * 100)
    words.write_text(
        f'captions: ["{filler} {{Pattern}} {{baseColour}} shirt", "{filler} {{baseColour}} shirt"]\n'
        'other_attributes: {templates: ["a {value} shirt"]}\n'
    )
    settings = {"epochs": 1, "batch_size": 8, "micro_batch": 8}
    train(configured(prompts=str(words), train=settings, loss={"name": "multi_positive"}))
    said = capsys.readouterr().err
    assert re.search(r"(\d+) of \1 texts looked at are longer than the \d+ tokens", said)
    assert "The longest loses its last" in said and " shirt\n" in said
    train(configured(train=settings, output_dir=str(tmp_path / "short")))
    assert "texts looked at" not in capsys.readouterr().err
