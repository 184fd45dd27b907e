import json
import os
from pathlib import Path

import pytest

from clipadapt.cli import main

QUICK = ["train.epochs=1", "train.batch_size=8", "train.micro_batch=8", "data.splits.tune=0.5"]
"""Half of the few products for tune: a tenth is one, whose colour no other has, so nothing could be judged."""


def stamps(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_catalogue_and_base_are_made_once_and_again_when_their_recipe_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import open_clip

    out = tmp_path / "quickstart"
    first = ["garments", "--out", str(out), "--items", "48", "--size", "32"]
    assert main([*first, *QUICK]) == 0
    assert capsys.readouterr().out == f"catalogue  {out}/catalogue\nbase       {out}/base\n"
    assert sorted(path.name for path in out.iterdir()) == ["base", "catalogue", "made.json"]
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out / 'base'}")
    assert sum(parameter.numel() for parameter in model.parameters()) > 1_000_000

    made = stamps(out)
    assert main([*first, *QUICK]) == 0
    assert stamps(out) == made
    assert "drawing" not in capsys.readouterr().err

    # Another recipe for the base leaves the catalogue alone.
    assert main([*first, *QUICK, "train.lr=1e-4"]) == 0
    changed = {os.path.relpath(file, out).split("/")[0] for file in made if stamps(out).get(file) != made[file]}
    assert changed == {"base", "made.json"}
    assert set(json.loads((out / "made.json").read_text())) == {"catalogue", "base"}


def test_a_wrong_key_is_usage_and_nothing_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["garments", "--out", str(tmp_path / "out"), "train.epoch=1"]) == 2
    assert "did you mean epochs?" in capsys.readouterr().err
    assert main(["garments", "--out", str(tmp_path / "out"), "--items", "3"]) == 2
    assert not (tmp_path / "out").exists()
