"""Training from kept tokens is training on the same views of the pictures."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stops import Stopped

from clipadapt.config import Config
from clipadapt.errors import ConfigError, StoreError
from clipadapt.runs import Run
from clipadapt.training import checkpoints
from clipadapt.training.lower_blocks import CachedBlocks
from clipadapt.training.tokens import ViewTokens
from clipadapt.training.trainer import train

Make = Callable[..., Config]
PLAN: Any = [["image.blocks.0.*", None], ["*.attention.{q,k,v,out}", 2], ["*", None]]
UPPER: dict[str, Any] = {"plan": PLAN}


def adapter(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def losses(run: Run) -> list[float]:
    return [row["loss"] for row in run.metrics() if "lr" in row]


def both(configured: Make, tmp_path: Path, **sections: Any) -> tuple[Run, Run]:
    """The run that computes every block in every step, and the one from tokens."""
    runs = []
    for cache in ("off", "required"):
        merged = {**sections, "lora": {**UPPER, **sections.get("lora", {})}}
        merged["train"] = {"views": 3, **sections.get("train", {}), "cache": cache}
        runs.append(train(configured(**merged, output_dir=str(tmp_path / cache))))
    return runs[0], runs[1]


def assert_close(one: Run, two: Run, *, rtol: float = 1e-3, atol: float = 1e-5) -> None:
    expected, found = adapter(one), adapter(two)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=rtol, atol=atol)


SECTIONS: dict[str, dict[str, Any]] = {
    "captions": {},
    "pieces": {"train": {"micro_batch": 4}},
    "attributes, base kept, texts first, rare ones more often": {
        "loss": {"name": "attributes", "keep": 0.5, "value_vectors": 1.0},
        "train": {"micro_batch": 4, "text_warmup": 2, "balance": "full"},
    },
    "workers": {"data": {"workers": 1}},
    "mined": {"loss": {"name": "multi_positive"}, "train": {"hard_negatives": 0.5}},
}


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_the_adapter_is_that_of_the_uncached_run(configured: Make, tmp_path: Path, sections: dict[str, Any]):
    whole, cached = both(configured, tmp_path, **sections)
    assert losses(cached) == pytest.approx(losses(whole), rel=1e-4)
    assert_close(whole, cached)
    assert not cached.cache.exists()


def test_in_half_precision_within_its_rounding(configured: Make, tmp_path: Path):
    whole, cached = both(configured, tmp_path, model={"precision": "bf16"})
    assert losses(cached) == pytest.approx(losses(whole), rel=2e-2)


def test_the_image_tower_alone_with_a_head(configured: Make, tmp_path: Path):
    lora = {"preset": "image", "plan": PLAN}
    loss = {"name": "softmax"}
    whole, cached = both(configured, tmp_path, head="linear", lora=lora, loss=loss)
    assert_close(whole, cached)


def test_frozen_blocks_are_computed_once(configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As many passes through the lower half as there are views, however many epochs follow."""
    from clipadapt.towers.cut import Cut

    seen: list[int] = []
    lower = Cut.lower

    def counted(cut: Cut, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return lower(cut, pixels)

    def fill(cached: CachedBlocks) -> None:
        monkeypatch.setattr(Cut, "lower", counted)
        real(cached)
        monkeypatch.setattr(Cut, "lower", lambda *_: pytest.fail("the lower half ran again"))

    real = CachedBlocks.fill
    monkeypatch.setattr(CachedBlocks, "fill", fill)
    run = train(configured(lora=UPPER, train={"views": 2, "epochs": 4, "hard_negatives": 0.5}))
    items = json.loads((run.path / "learned_from.json").read_bytes())["splits"]["train"]["items"]
    assert sum(seen) == 2 * items


def test_views_come_in_turn_and_the_first_is_plain(configured: Make):
    from clipadapt.data.augment import Augment
    from clipadapt.data.batches import Batches
    from clipadapt.data.splits import load_splits
    from clipadapt.towers.load import load

    config = configured(train={"views": 3})
    catalogue, preprocess = load_splits(config.data, 0).train, load(config.model.name).preprocess
    batches = Batches(catalogue, config.train, Augment(config.augment, preprocess, 0), 0)

    def pixels(epoch: int) -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        for (batch,) in batches.epoch(epoch):
            assert not batch.has_tokens
            drawn = zip(batch.indices.tolist(), batch.repeats.tolist(), batch.stored, strict=True)
            found |= {item: one for item, repeat, one in drawn if repeat == 0}
        return found

    first = [pixels(epoch) for epoch in range(6)]
    for item in range(len(catalogue)):
        views = [one[item] for one in first]
        assert np.array_equal(views[0], preprocess.pixels(catalogue.picture(item)))
        assert all(torch.equal(views[n], views[n + 3]) for n in range(3))
    assert not all(torch.equal(first[1][item], first[2][item]) for item in range(len(catalogue)))


def test_a_stopped_run_goes_on_from_tokens_to_the_same_adapter(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sections: dict[str, Any] = {"lora": UPPER, "train": {"views": 2, "checkpoint_every": 1, "micro_batch": 4}}
    whole = train(configured(**sections, output_dir=str(tmp_path / "whole")))
    stopped = configured(**sections, output_dir=str(tmp_path / "stopped"))
    real, saves = checkpoints.save, iter(range(1, 100))

    def save(*args: Any) -> Path:
        folder = real(*args)
        if next(saves) == 2:
            raise Stopped
        return folder

    with monkeypatch.context() as patch:
        patch.setattr("clipadapt.training.checkpoints.save", save)
        with pytest.raises(Stopped):
            train(stopped)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / "cache").rglob("*.npy")}
    assert len(files) == 2
    kept: list[dict[Path, int]] = []
    fill = CachedBlocks.fill

    def filled(cached: CachedBlocks) -> None:
        fill(cached)
        kept.append({path: path.stat().st_mtime_ns for path in files})

    monkeypatch.setattr(CachedBlocks, "fill", filled)
    run = train(stopped)
    assert kept == [files]
    one, two = adapter(whole), adapter(run)
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_killed_writer_leaves_whole_files(configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.training.tokens.FILE_BYTES", 5000)
    config = configured(lora=UPPER, train={"views": 2}, output_dir=str(tmp_path / "run"))
    write, count = ViewTokens.write, iter(range(100))

    def killed(view: ViewTokens, part: int, tokens: torch.Tensor) -> None:
        if next(count) == 5:
            raise Stopped
        write(view, part, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(ViewTokens, "write", killed)
        with pytest.raises(Stopped):
            train(config)
    written = sorted((tmp_path / "run" / "cache").rglob("*.npy"))
    assert len(written) == 5
    written[0].write_bytes(written[0].read_bytes()[:-7])  # a file that a failing disk cut short
    parts: list[tuple[int, int]] = []

    def again(view: ViewTokens, part: int, tokens: torch.Tensor) -> None:
        parts.append((view.number, part))
        write(view, part, tokens)

    monkeypatch.setattr(ViewTokens, "write", again)
    run = train(config)
    assert parts == [(0, 0), (1, 1), (1, 2), (1, 3)]
    reference = train(configured(lora=UPPER, train={"views": 2, "cache": "off"}, output_dir=str(tmp_path / "whole")))
    assert_close(reference, run)


def test_size_is_said_and_a_small_disk_refused_before_anything_is_computed(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Usage(NamedTuple):
        free: int = 200 * 2**20 + 1000

    monkeypatch.setattr("clipadapt.training.lower_blocks.shutil.disk_usage", lambda _: Usage())
    sections: dict[str, Any] = {"lora": UPPER, "train": {"views": 2}}
    with pytest.raises(StoreError, match=r"2 view\(s\) need 0 MiB more .* set train.cache to optional"):
        train(configured(**sections, output_dir=str(tmp_path / "small")))
    assert not list((tmp_path / "small").rglob("*.npy"))
    sections["train"]["cache"] = "optional"
    run = train(configured(**sections, output_dir=str(tmp_path / "optional")))
    said = capsys.readouterr().err
    assert "no tokens are kept, frozen blocks are computed in every step" in said
    monkeypatch.undo()
    sections["train"]["cache"] = "required"
    cached = train(configured(**sections, output_dir=str(tmp_path / "large")))
    said = capsys.readouterr().err
    assert (
        "tokens that enter block 2 of 2 of the image tower: 2 view(s) of 24 pictures, 640 bytes each in float32" in said
    )
    assert_close(run, cached)


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({}, "the first block of its image tower is trained, so none is frozen below"),
        ({"preset": "text"}, "the image tower is not trained, so no tokens are kept"),
        ({"plan": PLAN, "norms": True}, "no tokens are kept, pictures run through the whole image tower"),
    ],
    ids=["first block", "text", "norms"],
)
def test_where_nothing_is_frozen_below_it_is_said(
    configured: Make, capsys: pytest.CaptureFixture[str], lora: dict[str, Any], reason: str
):
    run = train(configured(lora=lora, train={"views": 2, "epochs": 1}))
    assert reason in capsys.readouterr().err
    assert all(math.isfinite(loss) for loss in losses(run))
    assert not run.cache.exists()


def test_a_named_folder_stays_and_is_shared(configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train_section = {"views": 2, "epochs": 1, "cache_folder": str(tmp_path / "shared")}
    train(configured(lora=UPPER, train=train_section, output_dir=str(tmp_path / "one")))
    folders = sorted(path.name for path in (tmp_path / "shared").iterdir())
    assert len(folders) == 2
    written: list[str] = []
    monkeypatch.setattr(ViewTokens, "write", lambda view, *_: written.append(view.folder.name))
    train(configured(lora={**UPPER, "alpha": 8}, train=train_section, output_dir=str(tmp_path / "two")))
    assert written == []
    monkeypatch.undo()
    other = {**train_section, "lr": 0.001}
    train(configured(lora=UPPER, train=other, augment={"jitter": 0.5}, output_dir=str(tmp_path / "three")))
    added = {path.name for path in (tmp_path / "shared").iterdir()} - set(folders)
    assert len(added) == 1 and added.pop().startswith("view1-")


def test_tokens_of_another_base_are_refused(configured: Make, tmp_path: Path):
    section = {"views": 1, "epochs": 1, "cache_folder": str(tmp_path / "shared")}
    train(configured(lora=UPPER, train=section, output_dir=str(tmp_path / "one")))
    (description,) = (tmp_path / "shared").rglob("tokens.json")
    document = json.loads(description.read_bytes())
    document["made_from"]["image_space"] = "image-0123"
    description.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=r"tokens of another base, plan or catalogue \(image_space differ\); remove"):
        train(configured(lora=UPPER, train=section, output_dir=str(tmp_path / "two")))


def test_a_runs_own_folder_loses_what_does_not_belong(
    configured: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    left = tmp_path / "run" / "cache" / "view0-0123456789ab"
    left.mkdir(parents=True)
    (left / "00000.npy").write_bytes(b"x")
    train(configured(lora=UPPER, train={"views": 1, "epochs": 1}, output_dir=str(tmp_path / "run")))
    assert "removed tokens of another base, plan or catalogue (view0-0123456789ab)" in capsys.readouterr().err


def test_values_that_the_kept_type_does_not_hold(tmp_path: Path):
    view = ViewTokens(tmp_path, 0, {}, items=3, shape=(2, 4), dtype=torch.float16)
    with pytest.raises(
        StoreError, match=r"items 0 to 2 reach 7e\+04, which float16 does not hold; set train.cache_dtype"
    ):
        view.write(0, torch.full((3, 2, 4), 7e4))
    assert view.missing() == [0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_tokens_come_back_as_they_went(tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipadapt.training.tokens.FILE_BYTES", 200)
    view = ViewTokens(tmp_path, 0, {"a": 1}, items=11, shape=(3, 4), dtype=dtype)
    whole = torch.randn(11, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    for part in view.missing():
        view.write(part, whole[view.items(part)])
    assert view.files > 1 and not view.missing()
    order = np.array([10, 0, 7, 7, 3])
    assert torch.equal(view.read(order), whole[order])


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"augment": {"mixup": 0.3}}, "mix pixels, and what is kept are tokens"),
        ({"augment": {"crop": [1.0, 1.0], "flip": False, "jitter": 0.0}}, "augment changes nothing"),
    ],
    ids=["mixup", "no augmentation"],
)
def test_settings_that_contradict_each_other(configured: Make, sections: dict[str, Any], fault: str):
    with pytest.raises((ConfigError, ValueError), match=fault):
        configured(train={"views": 2}, **sections)
