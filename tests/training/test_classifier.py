"""`head: linear`: any image tower, its checkpoints, its evaluation, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from stops import Stopped
from tiny_models import write_timm

from clipadapt.config import Config
from clipadapt.data.bins import training_counts
from clipadapt.data.splits import load_splits
from clipadapt.errors import AdapterError, SpaceError, TrainingError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.statistics.rows import select
from clipadapt.towers.classifier import HEAD, PROBE, Linear, LinearHead
from clipadapt.towers.encode import encode_catalogue
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge
from clipadapt.training import checkpoints
from clipadapt.training.trainer import train

Make = Callable[..., Config]
TASKS: list[dict[str, Any]] = [{"task": "recognition"}, {"task": "text_to_image", "by": "value", "k": [5]}]


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image tower alone, as a MODEL string."""
    return f"timm:{write_timm(tmp_path_factory.mktemp('timm') / 'vit', 'tiny_vit')}"


def linear(configured: Make, **sections: Any) -> Config:
    given = {"head": "linear", "export": [], "eval": {"headline": ["Pattern", "baseColour"]}}
    return configured(**given | sections)


def measured(config: Config, run: Run, out: Path | None = None, tasks: list[dict[str, Any]] = TASKS) -> Results:
    splits = load_splits(config.data, config.seed)
    statistics = {"draws": 100, "permutations": 100}
    suite = Suite.model_validate({"name": "t", "min_items": 2, "statistics": statistics, "tasks": tasks})
    return evaluate(
        load(f"run:{run.path}"), splits.validation, Prompts.load(config.prompts), suite,
        split="validation", against=load(config.model.name), train_counts=training_counts(splits.train),
        headline=config.eval.headline, tune=splits.tune, out=out,
    )  # fmt: skip


def test_an_image_tower_alone_is_trained_and_measured_against_its_probe(configured: Make, tower: str, tmp_path: Path):
    config = linear(configured, model={"name": tower}, train={"epochs": 2, "balance": "sqrt", "lr": 0.003})
    run = train(config)
    assert [row["when"] for row in run.metrics() if "when" in row] == ["linear probe", "epoch 1", "epoch 2"]
    encoder = load(f"run:{run.path}")
    assert isinstance(encoder, TorchEncoder) and encoder.head is not None and encoder.context_length is None
    home = {"task": "retention", "name": "home", "source": config.data.source, "attribute": "baseColour"}
    results = measured(config, run, tmp_path / "report", [*TASKS, home])
    told = select(results.rows, task="recognition", attribute="baseColour", metric="top1", system="adapted")
    splits = load_splits(config.data, config.seed)
    pictures = encode_catalogue(encoder, splits.validation, progress=False)
    labels = splits.validation.values("baseColour")
    counts = splits.validation.counts("baseColour")
    offered = [value for value, count in counts.items() if count >= 2]
    weight, bias = encoder.head.scores_of("baseColour", offered)
    right = [
        offered[int(np.argmax(weight @ picture + bias))] == label
        for picture, label in zip(pictures, labels, strict=True)
        if label in offered
    ]
    assert told[0].mean == pytest.approx(np.mean(right))
    assert results.headline("balanced_accuracy").against == "base"
    notes = " ".join(results.config["notes"])
    assert "base: has no text tower and so no zero-shot; recognised by a linear probe on its frozen vectors" in notes
    assert "text_to_image: adapted has no text tower" in notes and "retention: adapted has no text tower" in notes
    assert "logistic regression" in results.config["systems"]["base"]["head"]["by"]
    assert not select(results.rows, task="text_to_image")


def test_two_towers_keep_their_texts(configured: Make):
    config = linear(configured, train={"epochs": 1})
    run = train(config)
    base, adapted = load(config.model.name), load(f"run:{run.path}")
    assert torch.equal(base.encode_texts(["a red shirt"]), adapted.encode_texts(["a red shirt"]))
    assert base.text_space == adapted.text_space
    results = measured(config, run)
    assert select(results.rows, task="text_to_image")
    assert "head" in results.config["systems"]["adapted"] and "head" not in results.config["systems"]["base"]


def test_a_probe_alone_leaves_the_tower_as_it_is(configured: Make):
    run = train(linear(configured, train={"trainable": "head"}))
    base, adapted = load(run.config.model.name), load(f"run:{run.path}")
    assert isinstance(adapted, TorchEncoder) and adapted.head is not None
    assert base.image_space == adapted.image_space == adapted.head.image_space
    one, two = (LinearHead.load(run.adapter / name) for name in (HEAD, PROBE))
    for name, own in one.attributes.items():
        assert np.allclose(own.weight, two.attributes[name].weight, rtol=1e-5, atol=1e-6)
    assert all(found["C"] > 0 and found["tune_items"] > 0 for found in two.fitted["attributes"].values())
    merge(adapted)
    assert base.image_space == adapted.image_space


def test_an_average_starts_at_the_probe(configured: Make, tmp_path: Path):
    sections: dict[str, Any] = {"epochs": 2, "lr": 1e-9}
    plain = train(linear(configured, train=sections, output_dir=str(tmp_path / "plain")))
    run = train(linear(configured, train=sections | {"average": 0.999}))
    figures = [[row["tune_smooth"] for row in one.metrics() if "when" in row] for one in (plain, run)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    averaged = load_file(max(run.checkpoints.iterdir()) / "parameters.safetensors")
    weights, average = averaged["classifier.lines.0"], averaged["average.classifier.lines.0"]
    assert weights.any() and torch.allclose(weights, average, atol=1e-6)


def test_stopped_and_resumed_ends_with_the_same_head(configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sections: dict[str, Any] = {"train": {"checkpoint_every": 1}, "augment": {"mixup": 0.3}}
    whole = train(linear(configured, **sections, output_dir=str(tmp_path / "whole")))
    config, real, count = linear(configured, **sections), checkpoints.save, iter(range(1000))

    def save(*args: Any) -> Path:
        folder = real(*args)
        if next(count) == 2:
            raise Stopped
        return folder

    with monkeypatch.context() as patched:
        patched.setattr("clipadapt.training.checkpoints.save", save)
        with pytest.raises(Stopped):
            train(config)
    run = train(config)
    for name in (HEAD, PROBE, "adapter_model.safetensors"):
        one, two = load_file(run.adapter / name), load_file(whole.adapter / name)
        assert one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items()), name
    last = max(run.checkpoints.iterdir()).name
    one, two = (load_file(of.checkpoints / last / "parameters.safetensors") for of in (run, whole))
    assert {"classifier.lines.0", "classifier.lines.1"} <= one.keys()
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_training_moves_the_classifier_and_the_tower(configured: Make, tower: str):
    run = train(linear(configured, model={"name": tower}, train={"epochs": 8, "lr": 0.003}))
    losses = [row["loss"] for row in run.metrics() if "lr" in row]
    assert sum(losses[-3:]) < sum(losses[:3])
    last = load_file(max(run.checkpoints.iterdir()) / "parameters.safetensors")
    probe = LinearHead.load(run.adapter / PROBE).attributes["Pattern"]
    assert not np.allclose(last["classifier.lines.0"][:, :-1].numpy() * 50, probe.weight, atol=1e-3)
    assert any(tensor.any() for name, tensor in last.items() if ".lora_B." in name)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"loss": {"name": "sigmoid", "keep": 1.0}}, "leave out loss.name, loss.keep"),
        ({"loss": {"bank": 9, "wordings": 2}}, "leave out loss.bank, loss.wordings"),
        ({"loss": {"search": 1.0, "answers": 1.0}}, "leave out loss.answers, loss.search"),
        ({"data": {"attributes": {"Pattern": {"kind": "multi"}}}}, "Pattern may have several"),
        ({"lora": {"preset": "text"}}, "image tower alone; set it to image"),
        ({"export": ["open_clip"]}, "no exported form holds a linear head"),
        ({"eval": {"select_on": "loss"}}, "chooses by recognition"),
        ({"train": {"text_warmup": 3}}, "leave out train.text_warmup"),
    ],
)
def test_what_does_not_fit_a_head_is_refused(configured: Make, sections: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        linear(configured, **sections)


def test_a_head_is_needed_where_only_a_head_is_trained(configured: Make, tower: str):
    with pytest.raises(ValueError, match="set head: linear"):
        configured(train={"trainable": "head"})
    with pytest.raises(Exception, match="set head: linear, or choose a two-tower model"):
        train(configured(model={"name": tower}))


def test_no_attribute_with_two_values_is_refused(configured: Make):
    with pytest.raises(TrainingError, match="no attribute has two values"):
        train(linear(configured, data={"attributes": ["Sleeve Length"]}, eval={"headline": None}))


def test_exporting_nothing_is_the_default_of_a_head(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("name: t\noutput_dir: o\nhead: linear\ndata: {source: s}\nprompts: prompts/generic.yaml\n")
    assert Config.load(file).export == ()


def test_a_head_reads_one_space_alone(configured: Make):
    run = train(linear(configured, train={"epochs": 1}))
    encoder = load(f"run:{run.path}")
    assert isinstance(encoder, TorchEncoder) and encoder.head is not None
    with pytest.raises(AdapterError, match="no exported form holds"):
        encoder.written_lineage()
    with pytest.raises(AdapterError, match="at strength 1"):
        merge(encoder, {"image": 0.5})
    with pytest.raises(SpaceError, match="reads vectors of"):
        encoder.head.require("image-other", "x")


def test_an_unseen_value_is_never_told_and_the_file_is_readable_alone(tmp_path: Path):
    rng = np.random.default_rng(0)
    turned = np.asfortranarray(rng.normal(size=(2, 6)).astype(np.float32))
    own = Linear(("a", "b"), turned, np.array([-3, 4], np.float32))
    head = LinearHead({"Pattern": own}, "image-x", {"by": "hand"})
    head.save(tmp_path / HEAD)
    again = LinearHead.load(tmp_path / HEAD)
    assert again.image_space == "image-x" and again.attributes["Pattern"].values == ("a", "b")
    with safe_open(tmp_path / HEAD, "numpy") as opened:
        assert set(opened.keys()) == {"Pattern/weight", "Pattern/bias"}
    weight, bias = again.scores_of("Pattern", ["new", "b", "a"])
    vectors = rng.normal(size=(1000, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ weight.T + bias
    assert (scores[:, 0] < scores[:, 1:].min(axis=1)).all()
    assert np.allclose(scores[:, 2], vectors @ own.weight[0] - 3, atol=1e-5)
    (tmp_path / HEAD).write_bytes(b"torn")
    with pytest.raises(AdapterError, match="cannot be read as a linear head"):
        LinearHead.load(tmp_path / HEAD)
