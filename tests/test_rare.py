"""One run's rare figure, wherever it is measured: its report, `clipadapt eval`, the strength search, `clipadapt tag`.

Striped has more than 100 items with those that were carved for tune and fewer without, so it is rare only to whoever
forgets one of the two.
"""

from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from data_factory import write_table
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip
from typer.testing import CliRunner

from clipadapt.cli import eval as eval_verb
from clipadapt.cli import tag as tag_verb
from clipadapt.errors import ConfigError
from clipadapt.evaluation.results import Results
from clipadapt.export.strength_search import search
from clipadapt.inputs import resolve
from clipadapt.launch import Ending
from clipadapt.recognition.accuracy import MIN_ITEMS
from clipadapt.recognition.vectors import VectorCache
from clipadapt.runs import Run
from clipadapt.statistics.results import MeasuredRows
from clipadapt.statistics.rows import FileWording, Row
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load

METRIC = "rare_balanced_accuracy"
SUITE = "name: s\nstatistics: {draws: 100, permutations: 100}\ntasks: [{task: recognition}]\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("rare")
    random = np.random.default_rng(0)
    for split, counts in (
        ("train", {"Solid": 130, "Striped": 105, "Checked": 30}),
        ("validation", {"Solid": 20, "Striped": 20, "Checked": 8, "Dotted": 6, "Plaid": 3}),
    ):
        values = [value for value, count in counts.items() for _ in range(count)]
        rows = [
            {"file_name": f"{at}.png", "product": f"{split}{at}", "Pattern": value,
             "baseColour": str(random.choice(["Red", "Blue"]))}
            for at, value in enumerate(values)
        ]  # fmt: skip
        write_table(root / "shop" / split, rows)
    base = write_open_clip(root / "base", OPEN_CLIP["clip"])
    write_run(root / "run", base, 3, source=str(root / "shop"))
    (root / "suite.yaml").write_text(SUITE)
    file = root / "run" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["eval"] |= {"headline": ["Pattern"], "suite": str(root / "suite.yaml")}
    file.write_text(yaml.safe_dump(config))
    return Run.open(root / "run")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def reported(run: Run) -> Row:
    """The row of the report that ends a training."""
    inputs = resolve(model=f"run:{run.path}")
    Ending.of(run.config, inputs).measure(run, VectorCache())
    return Results.load(run.report).headline(METRIC)


@pytest.fixture(scope="module")
def reported_in_file(run: Run, reported: Row) -> Row:
    """The same in the prompts file's own wording, which is what tagging and the strength search go by."""
    row = FileWording(Results.load(run.report).rows)(reported)
    assert row is not None
    return row


def typed(verb: object, *arguments: object) -> None:
    app = typer.Typer()
    app.command()(verb.command)  # type: ignore[attr-defined]
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    if found.exception:
        raise found.exception


def test_it_rests_on_the_values_that_are_rare_with_all_training_items(run: Run, reported: Row) -> None:
    counts = resolve(model=f"run:{run.path}").training_counts()
    assert counts is not None
    assert counts["Pattern"] == {"Solid": 130, "Striped": 105, "Checked": 30}
    assert reported.n == 14, "eight checked items and six dotted ones, which training never saw; three are too few"
    assert Results.load(run.report).config["rare"] == {"Pattern": ["Checked"]}


def test_eval_measures_the_same(run: Run, reported: Row, tmp_path: Path) -> None:
    suite = run.config.eval.suite
    typed(
        eval_verb, "--model", f"run:{run.path}", "--against", run.config.model.name, "--suite", suite, "--out", tmp_path
    )
    results = Results.load(tmp_path)
    found = results.headline(METRIC)
    assert (found.mean, found.n, found.delta) == (reported.mean, reported.n, reported.delta)
    assert results.config["headline"] == ["Pattern"]
    assert results.config["fitted_on"] == {"weights": "train", "epoch": "tune", "temperatures": "tune"}
    assert results.config == Results.load(run.report).config | {
        key: results.config[key] for key in ("created", "systems")
    }


@pytest.mark.parametrize(("split", "choice"), [("tune", "epoch"), ("train", "weights")])
def test_eval_refuses_what_training_chose_on(run: Run, split: str, choice: str, tmp_path: Path) -> None:
    suite = run.config.eval.suite
    with pytest.raises(ConfigError, match=f"{choice} was fitted on '{split}'"):
        typed(eval_verb, "--model", f"run:{run.path}", "--split", split, "--suite", suite, "--out", tmp_path)


def test_the_strength_search_measures_the_same(run: Run, reported_in_file: Row) -> None:
    inputs = resolve(model=f"run:{run.path}")
    encoder = load(f"run:{run.path}")
    assert isinstance(encoder, TorchEncoder)
    counts = inputs.training_counts()
    assert counts is not None
    curve = search(
        encoder, inputs.splits.validation, inputs.prompts, counts,
        headline=["Pattern"], retained=["baseColour"], min_items=MIN_ITEMS,
    )  # fmt: skip
    whole = next(point for point in curve.points if (point.image, point.text) == (1.0, 1.0))
    assert whole.figures[METRIC].mean == reported_in_file.mean
    assert whole.figures[METRIC].delta == pytest.approx(reported_in_file.delta)


def test_tag_measures_the_same(run: Run, reported_in_file: Row, tmp_path: Path) -> None:
    typed(tag_verb, "--model", f"run:{run.path}", "--against", run.config.model.name, "--out", tmp_path / "tags.csv")
    results = MeasuredRows.load(tmp_path / "tags.report.json")
    found, wanted = results.headline(METRIC), reported_in_file
    assert (found.mean, found.n, found.delta) == (wanted.mean, wanted.n, wanted.delta)
    assert results.config["rare"] == {"Pattern": ["Checked"]}
