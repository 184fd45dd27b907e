"""The benchmark of baselines over tiny towers: every name goes through, runs are kept, and the plane is drawn."""

import importlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from clipadapt.config import Config

BENCHMARKS = Path(__file__).parents[2] / "eval" / "benchmarks"
SUITE = """
name: tiny
headline: [Pattern, baseColour]
min_items: 2
statistics: {draws: 100, permutations: 100}
tasks:
  - {task: recognition}
  - {task: text_to_image, by: value, k: [10]}
  - {task: retention, name: home, source: SOURCE, attribute: baseColour}
"""
Make = Callable[..., Config]


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The benchmark as a module; what it publishes goes to tmp_path/results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("machine", "plane", "recipes", "trials", "baselines"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("baselines")
    for place in (module, sys.modules["machine"]):
        monkeypatch.setattr(place, "RESULTS", tmp_path / "results")
    return module


@pytest.fixture
def called(
    baselines: ModuleType,
    configured: Make,
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Arguments of the command -> the headline it prints last."""
    (tmp_path / "suite.yaml").write_text(SUITE.replace("SOURCE", str(material / "shop")))
    ours = configured(loss={"name": "attributes"}, train={"text_lead": 2}, eval={"suite": str(tmp_path / "suite.yaml")})
    (tmp_path / "ours.yaml").write_text(ours.to_yaml())

    def call(*arguments: str) -> dict[str, Any]:
        fixed = ["--config", str(tmp_path / "ours.yaml"), "--passes", "40", "--out", str(tmp_path / "kept")]
        monkeypatch.setattr(sys, "argv", ["baselines.py", *fixed, *arguments])
        baselines.main()
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    return call


def test_every_name_goes_through_and_nothing_is_trained_twice(
    called: Callable[..., dict[str, Any]],
    baselines: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    alone = called("--only", "zero_shot", "plain_lora")
    assert alone == {"ours_measured": False, "measured": ["zero_shot_one", "zero_shot", "plain_lora"]}
    headline = called()
    assert headline["measured"] == list(baselines.NAMES)
    result = json.loads((tmp_path / "results" / "baselines.json").read_text())["names"]
    for name, found in result.items():
        assert {"headline", "rare", "P@10", "retention"} <= found.keys(), name
        assert (found["passes"] == 0) == (name in ("zero_shot", "zero_shot_one", "linear_probe"))
        pairs = [pair for pair in found["ours_minus"] if pair]
        assert len(pairs) == (name != "ours")
        for pair in pairs:
            for figure in ("headline", "rare", "retention"):
                assert pair[figure]["low"] <= pair[figure]["delta"] <= pair[figure]["high"]
                expected = result["ours"][figure] - found[figure]
                assert pair[figure]["delta"] == pytest.approx(expected, abs=2e-4), (name, figure)
    assert result["linear_probe"]["retention"] == result["zero_shot"]["retention"]
    drawn = ElementTree.parse(tmp_path / "results" / "baselines.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == len(baselines.NAMES)
    monkeypatch.setattr(baselines, "train", None)
    monkeypatch.setattr(baselines, "evaluate", None)
    assert called("--only", "ours") == headline


def test_the_rate_is_chosen_on_tune(
    called: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "clipadapt.training.selection.Selection.measure",
        lambda self, encoder, head: ((next(scores),), {"balanced_accuracy": next(figures)}),
    )
    scores, figures = iter([0.1, 0.2, 0.1, 0.2]), iter([0.9, 0.2, 0.9, 0.3])
    called("--only", "norms", "--rates", "0.001", "0.002")
    kept = sorted(path.name for path in (tmp_path / "kept" / "norms").iterdir())
    assert kept == ["seed0-0.001", "seed0-0.002"]


def test_passes_bound_the_epochs(baselines: ModuleType, configured: Make):
    recipes = sys.modules["recipes"]
    config = configured(train={"epochs": 50, "batch_size": 8})
    for name, kind in recipes.NAMES.items():
        if kind == "run" and name not in ("wise_ft", "linear_probe"):
            made = recipes.recipe(name, config, items=36, passes=130, balance="sqrt", rate=0.5)
            size = made.train.batch_size
            assert recipes.picture_passes(name, made, items=36) == made.train.epochs * math.ceil(36 / size) * size
            assert 0 < recipes.picture_passes(name, made, items=36) <= 130
            assert (made.train.balance, made.train.lr) == ("sqrt", 0.5)


def test_a_plane_names_every_mark(baselines: ModuleType):
    module = sys.modules["plane"]
    marks = [module.Mark("one", 0.3, 0.1), module.Mark("two <&>", 0.301, 0.1, True), module.Mark("far", 0.6, 0.5)]
    root = ElementTree.fromstring(module.plane(marks, "x", "y"))
    texts = [text.text for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert {"one", "two <&>", "x, %"} <= set(texts)
    heights = [
        float(text.get("y", "0"))
        for text in root.findall("{http://www.w3.org/2000/svg}text")
        if text.text in ("one", "two <&>")
    ]
    assert abs(heights[0] - heights[1]) >= 13
