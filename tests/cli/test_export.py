"""clipadapt export as typed: what goes where, and what is refused before any work."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data_factory import write_catalogue
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main
from clipadapt.export import push as hub
from clipadapt.export.calibration import Calibration
from clipadapt.runs import Run
from clipadapt.towers.load import load


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("made")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    return write_run(root / "shirts", root / "base", 3, preset="text", source=str(write_catalogue(root / "shop", 120)))


def export(run: Run, out: Path, *more: str, to: str = "open_clip") -> int:
    return main(["export", f"run:{run.path}", "--to", to, "--out", str(out), *more])


def test_strength_auto_is_written_drawn_and_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(run, tmp_path / "out", "--strength", "auto", "--retain", "baseColour") == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    for folder in (tmp_path / "out", run.report):
        assert json.loads((folder / "strength.json").read_text())["chosen"] == said["strength"]
        assert "<svg" in (folder / "strength.html").read_text()
    assert said["image_space"] == load(run.config.model.name).image_space, "only texts were adapted"
    assert "now measure it: clipadapt eval --model" in shown.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--retain", "baseColour"], "--retain says what --strength auto must not lose"),
        (["--strength", "auto"], "nothing to retain"),
        (["--strength", "image=auto"], "write image=NUMBER or text=NUMBER"),
        (["--int8"], "go together"),
        (["--fp16"], "has no fp16 form"),
        (["--push", "shirts"], "write ORG/NAME"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_writes_nothing(
    run: Run, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(run, tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused_before_anything_is_searched(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    monkeypatch.setattr("clipadapt.export.strength_search.find_strength", lambda *_, **__: pytest.fail("searched"))
    assert export(run, tmp_path, "--strength", "auto", "--retain", "baseColour") == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_push_uploads_what_was_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: dict[str, Any] = {}

    def upload(**said: Any) -> SimpleNamespace:
        sent.update(said, files={path.name for path in Path(said["folder_path"]).iterdir()})
        return SimpleNamespace(oid="0dd")

    api = SimpleNamespace(whoami=dict, create_repo=lambda *_, **__: None, upload_folder=upload)
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    assert export(run, tmp_path / "out", "--push", "shop/shirts") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["pushed"] == "hf-hub:shop/shirts@0dd"
    assert "this very version is hf-hub:shop/shirts@0dd" in shown.err
    assert sent["files"] == {"README.md", "clipadapt.json", "open_clip_config.json", "open_clip_model.safetensors"}


def test_int8_is_fitted_on_what_the_run_knows_and_its_own_agreement_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """README's line, as it stands there: the run's prompts and attributes, not those of a default config."""
    out = tmp_path / "out"
    assert export(run, out, "--int8", "--calibrate", run.config.data.source, to="onnx") == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    card = json.loads((out / "clipadapt.json").read_text())["int8"]
    assert card["calibration"]["decisions"] == ["Pattern", "baseColour"]
    assert said["int8"]["agreement"] == card["agreement"]["all"]
    assert said["int8"]["cosine"]["text"] == card["text"]["cosine"] < 1.0
    assert "INT8: " in shown.err and "of the decisions on pictures kept aside stay" in shown.err
    kept = card["image"]["kept_in_float"] + card["text"]["kept_in_float"]
    assert "" not in kept


def test_a_source_that_names_its_columns_otherwise_can_calibrate(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_catalogue(tmp_path / "shop", 120)
    table = shop / "train" / "metadata.csv"
    table.write_text(table.read_text().replace("file_name,", "photo,", 1))
    more = ("--int8", "--calibrate", str(shop))
    assert export(run, tmp_path / "out", *more, to="onnx") != 0
    assert "photo" in capsys.readouterr().err
    found = Calibration.of(shop, model=f"run:{run.path}", image="photo")
    assert list(found.values) == ["Pattern", "baseColour"]
