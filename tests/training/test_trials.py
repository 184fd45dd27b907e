"""The comparisons of trainings over tiny towers: every name goes through, runs are kept, and the plane is drawn."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from clipadapt.config import Config
from clipadapt.errors import TrainingError
from clipadapt.runs import Run

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


FEW = ("--passes", "40")
MODULES = ("machine", "plane", "recipes", "trials", "baselines", "ablation")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapping[str, ModuleType]:
    """The benchmarks' modules by name; what they publish goes to tmp_path/results."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = {name: importlib.import_module(name) for name in MODULES}
    for name in ("machine", "baselines", "ablation"):
        monkeypatch.setattr(found[name], "RESULTS", tmp_path / "results")
    return found


@pytest.fixture
def called(
    modules: Mapping[str, ModuleType],
    configured: Make,
    material: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """A benchmark and its arguments -> the headline it prints last."""
    (tmp_path / "suite.yaml").write_text(SUITE.replace("SOURCE", str(material / "shop")))
    ours = configured(
        loss={"name": "attributes"}, train={"text_warmup": 2}, eval={"suite": str(tmp_path / "suite.yaml")}
    )
    (tmp_path / "ours.yaml").write_text(ours.to_yaml())

    def call(name: str, *arguments: str) -> dict[str, Any]:
        fixed = ["--config", str(tmp_path / "ours.yaml"), "--out", str(tmp_path / "kept")]
        monkeypatch.setattr(sys, "argv", [name, *fixed, *arguments])
        modules[name].main()
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    return call


@pytest.mark.slow
def test_every_name_goes_through_and_nothing_is_trained_twice(
    called: Callable[..., dict[str, Any]],
    modules: Mapping[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    alone = called("baselines", *FEW, "--only", "zero_shot", "plain_lora")
    assert alone == {
        "ours_measured": False, "measured": ["zero_shot_one", "zero_shot", "value_vectors", "plain_lora"]
    }  # fmt: skip
    headline = called("baselines", *FEW)
    names = list(modules["recipes"].NAMES)
    assert headline["measured"] == names
    result = json.loads((tmp_path / "results" / "baselines.json").read_text())["names"]
    for name, found in result.items():
        assert {"headline", "rare", "P@10", "retention"} <= found.keys(), name
        assert (found["passes"] == 0) == (name in ("zero_shot", "zero_shot_one", "value_vectors", "linear_probe"))
        pairs = [pair for pair in found["ours_minus"] if pair]
        assert len(pairs) == (name != "ours")
        for pair in pairs:
            for figure in ("headline", "rare", "retention"):
                assert pair[figure]["low"] <= pair[figure]["delta"] <= pair[figure]["high"]
                expected = result["ours"][figure] - found[figure]
                assert pair[figure]["delta"] == pytest.approx(expected, abs=2e-4), (name, figure)
    assert result["linear_probe"]["retention"] == result["zero_shot"]["retention"]
    drawn = ElementTree.parse(tmp_path / "results" / "baselines.svg").getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == len(names)
    monkeypatch.setattr(modules["trials"], "train", None)
    monkeypatch.setattr(modules["trials"], "evaluate", None)
    assert called("baselines", *FEW, "--only", "ours") == headline


@pytest.mark.slow
def test_every_switch_is_measured_against_the_config_as_it_is(
    called: Callable[..., dict[str, Any]],
    modules: Mapping[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    only = ("--only", "softmax", "attributes", "rank_4", "another_seed")
    headline = called("ablation", *only)
    rows = json.loads((tmp_path / "results" / "ablation.json").read_text())["rows"]
    assert list(rows) == ["reference", "softmax", "rank_4", "another_seed"], "the config's own loss is no switch"
    assert headline == {"switches": 3, "failed": {}, "reference": rows["reference"]["figures"]}
    for name, row in rows.items():
        for figure in ("headline", "rare", "retention"):
            (pair,) = row["minus"]
            against = rows["reference"]["figures"][figure]
            if name != "reference":
                assert pair[figure]["delta"] == pytest.approx(row["figures"][figure] - against, abs=2e-4)
            assert pair[figure]["low"] <= pair[figure]["delta"] <= pair[figure]["high"]
    lines = (tmp_path / "results" / "ablation.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["switch", "---", *rows]
    monkeypatch.setattr(modules["trials"], "train", None)
    monkeypatch.setattr(modules["trials"], "evaluate", None)
    assert called("ablation", *only) == headline


def test_every_switch_makes_a_config(modules: Mapping[str, ModuleType], configured: Make, tmp_path: Path):
    plan = [["*.attention.{q,k,v,out}", 2], ["*.mlp.*", 2]]
    config = configured(loss={"name": "attributes"}, lora={"plan": plan})
    ablation = modules["ablation"].Ablation(config, tmp_path)
    made = {name: ablation.changed(name, 3) for name in modules["ablation"].SWITCHES}
    assert {name for name, one in made.items() if one is None} >= {"attributes", "balance_none", "no_anchor"}
    rank = made["rank_8"]
    assert (rank.lora.rank, rank.lora.alpha) == (8, 16) and {own for _, own in rank.lora.plan} == {8}
    assert made["attention_alone"].lora.plan[:2] == (("*.attention.{q,k,v,out}", 2), ("*.mlp.*", None))
    assert made["another_seed"].seed == 1003


def test_a_switch_that_cannot_be_trained_is_said(
    called: Callable[..., dict[str, Any]], modules: Mapping[str, ModuleType], monkeypatch: pytest.MonkeyPatch
):
    real = modules["trials"].train

    def train(config: Config, **given: Any) -> Run:
        if config.loss.name == "sigmoid":
            raise TrainingError("the loss is no number")
        return real(config, **given)

    monkeypatch.setattr(modules["trials"], "train", train)
    headline = called("ablation", "--only", "sigmoid", "softmax")
    assert headline["failed"] == {"sigmoid": "the loss is no number"} and headline["switches"] == 1


def test_the_rate_is_chosen_on_tune(
    called: Callable[..., dict[str, Any]],
    modules: Mapping[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(
        "clipadapt.training.selection.Selection.measure",
        lambda self, encoder, logit_scale, table=None: ((next(scores),), {"balanced_accuracy": next(figures)}),
    )
    scores, figures = iter([0.1, 0.2, 0.1, 0.2]), iter([0.9, 0.2, 0.9, 0.3])
    called("baselines", *FEW, "--only", "norms", "--rates", "0.001", "0.002")
    kept = sorted(path.name for path in (tmp_path / "kept" / "norms").iterdir())
    assert kept == ["seed0-0.001", "seed0-0.002"]
    config = Config.load(tmp_path / "ours.yaml")
    contest = modules["baselines"].Contest(config, tmp_path / "kept", passes=40, balance=None, rates=())
    assert contest.finished("norms", 0).path.name == "seed0-0.002", "of all that was trained, the best on tune"
    assert contest.finished("norms", 1) is None


def test_passes_bound_the_epochs(modules: Mapping[str, ModuleType], configured: Make):
    recipes = modules["recipes"]
    config = configured(train={"epochs": 50, "batch_size": 8})
    for name, kind in recipes.NAMES.items():
        if kind == "run" and name not in ("wise_ft", "linear_probe"):
            made = recipes.recipe(name, config, items=36, passes=130, balance="sqrt", rate=0.5)
            size = made.train.batch_size
            assert recipes.picture_passes(name, made, items=36) == made.train.epochs * math.ceil(36 / size) * size
            assert 0 < recipes.picture_passes(name, made, items=36) <= 130
            assert (made.train.balance, made.train.lr) == ("sqrt", 0.5)


def test_a_plane_names_every_mark(modules: Mapping[str, ModuleType]):
    module = modules["plane"]
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
