"""README's own-catalogue steps, typed as they stand there, for three shops: to a promoted release and a search.

Two things are added to what README says, each as README says it may be: `--model` names a tiny model that needs no
download, and the training's line ends in overrides that suit so small a model.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import readme
import readme_shop
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main

SECTION = "Your own catalogue"
SMALL = ["train.lr=5e-3", "model.precision=fp32", "train.epochs=3", "train.text_warmup=20"]
LAYOUTS = [readme_shop.write_csv, readme_shop.write_json_lines, readme_shop.write_parquet]


def test_the_walk_goes_all_the_way() -> None:
    steps = [" ".join(readme.words(command)[:3]) for command in readme.typed(SECTION)]
    wanted = [
        "clipadapt init my/catalogue", "clipadapt data check", "clipadapt prompts lint", "accelerate launch -m",
        "clipadapt index build", "clipadapt index search", "clipadapt release create", "clipadapt release promote",
        "clipadapt release rollback", "clipadapt export run:runs/mine",
    ]  # fmt: skip
    assert [step for step in dict.fromkeys(steps) if step in wanted] == wanted


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout.__name__ for layout in LAYOUTS])
def test_every_step_as_it_stands(
    layout: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    layout(tmp_path / "my" / "catalogue")
    write_open_clip(tmp_path / "tiny", OPEN_CLIP["clip"])
    answers = {command: step(command, capsys, launcher=layout is LAYOUTS[0]) for command in readme.typed(SECTION)}

    text = Path("configs/mine.yaml").read_text()
    for line in ("image: photo ", "product: sku ", "attributes: [colour, pattern]"):
        assert line in text
    assert "0 error(s)" in next(err for command, (_, err) in answers.items() if "data check" in command)
    found = [out for command, (out, _) in answers.items() if "index search" in command]
    assert len(found) == 2 and "--where 'price<50' -k 10" in "".join(answers)
    prices = [float(price) for price in re.findall(r"price: ([\d.]+)", found[0])]
    assert len(prices) == 10 and max(prices) < 50
    assert len(found[1].splitlines()) == 10 and "sku: A-" in found[1]
    for file in ("report/report.html", "export/open_clip/open_clip_model.safetensors"):
        assert (Path("runs/mine") / file).is_file()
    assert Path("exports/mine/image.int8.onnx").is_file()
    assert main(["release", "list", "releases", "--json"]) == 0
    releases = json.loads(capsys.readouterr().out)
    assert [(one["version"], one["current"]) for one in releases] == [("000001", True), ("000002", False)]


def step(command: str, capsys: pytest.CaptureFixture[str], *, launcher: bool) -> tuple[str, str]:
    """Types one line of README; what it printed on stdout and stderr.

    Without `launcher` accelerate's line is what accelerate starts, forked: no layout of a catalogue changes how.
    """
    if command.startswith("open_clip."):
        import open_clip

        eval(command, {"open_clip": open_clip})
        return "", ""
    program, *arguments = readme.words(command)
    capsys.readouterr()
    if program == "accelerate" and not launcher:
        log = Path("training.log")
        module = arguments.index("clipadapt.launch")
        forked.run("run_launch.py", *arguments[module + 1 :], *SMALL, log=log, ACCELERATE_USE_CPU="true")
        code, out, err = 0, "", log.read_text()
    elif program == "accelerate":
        started = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *arguments, *SMALL]
        environment = os.environ | {"PYTHONPATH": str(readme.README.parent), "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(started, env=environment, capture_output=True, text=True, check=False)
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        more = ["--model", "local-dir:tiny"] if arguments[0] == "init" else []
        code = main([*arguments, *more])
        out, err = capsys.readouterr()
    assert code == 0, f"{command}\n{out}\n{err}"
    return out, err
