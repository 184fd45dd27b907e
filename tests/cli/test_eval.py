"""clipadapt eval, as typed, with a small model of random weights on drawn garments."""

from pathlib import Path

import pytest
import typer
import yaml
from data_factory import write_catalogue
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip
from typer.testing import CliRunner

from clipadapt import cli
from clipadapt.cli import eval as verb
from clipadapt.data.bins import rare
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments.write import draw
from clipadapt.errors import CatalogueError, ConfigError, GateError, PromptError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.results import RESULTS, Results
from clipadapt.inputs import resolve
from clipadapt.towers.small import create_small

SUITE = """
name: small
min_items: 3
statistics: {{draws: 200, permutations: 200}}
tasks:
  - {{task: recognition}}
  - {{task: retention, name: own, source: "{source}", attribute: colour, names: {names}}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("world")
    return draw(folder / "garments", items=96, seed=0, size=32), f"local-dir:{create_small(folder / 'model', seed=0)}"


def run(world: tuple[Path, str], folder: Path, *more: str, source: str | None = None, names: str = "{}"):
    app = typer.Typer()
    app.command()(verb.command)
    (folder / "suite.yaml").write_text(SUITE.format(source=source or world[0], names=names), encoding="utf-8")
    given = ["--model", world[1], "--source", str(world[0]), "--attribute", "colour", "--device", "cpu"]
    return CliRunner().invoke(
        app,
        [*given, "--suite", str(folder / "suite.yaml"), "--out", str(folder / "out"), "--cache", str(folder), *more],
    )


@pytest.mark.parametrize(("flags", "shown"), [((), True), (("--no-pictures",), False)])
def test_pictures_may_be_left_out_of_the_report(world, tmp_path, monkeypatch, flags: tuple[str, ...], shown: bool):
    given = {}

    def spy(*arguments, **options):
        given.update(options)
        return evaluate(*arguments, **options)

    monkeypatch.setattr("clipadapt.evaluation.evaluate.evaluate", spy)
    assert run(world, tmp_path, *flags).exit_code == 0
    assert given["show_pictures"] is shown


def test_a_gate_that_is_not_passed_comes_after_the_report(world, tmp_path):
    (tmp_path / "gate.yaml").write_text(
        "conditions: [{row: retention, metric: balanced_accuracy, bound: delta_low, above: 0.5}]", encoding="utf-8"
    )
    found = run(world, tmp_path, "--against", world[1], "--gate", str(tmp_path / "gate.yaml"))
    assert isinstance(found.exception, GateError)
    assert found.exception.exit_code == 3
    assert "retention:own: colour, balanced accuracy" in str(found.exception)
    assert [row.delta for row in Results.load(tmp_path / "out").rows if row.paired and row.task == "retention:own"]


@pytest.mark.parametrize(
    ("source", "names", "error", "said"),
    [
        ("nowhere/at/all", "{}", CatalogueError, "no such folder"),
        ("${NO_SUCH_VARIABLE}/set", "{}", ConfigError, "an environment variable that is not set"),
        (None, "{blak: black}", ConfigError, "did you mean 'black'"),
    ],
)
def test_a_retention_set_at_fault_is_told_before_anything_is_encoded(world, tmp_path, source, names, error, said):
    found = run(world, tmp_path, source=source, names=names)
    assert isinstance(found.exception, error)
    assert said in str(found.exception)
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "out" / RESULTS).exists()


def test_weights_are_not_measured_on_the_pictures_they_were_fitted_on(world, tmp_path):
    fingerprint = Catalogue.load(world[0], "validation", attributes=("colour",)).fingerprint
    words = Path("prompts/garments.yaml").read_text(encoding="utf-8")
    prompts = tmp_path / "words.yaml"
    prompts.write_text(f"{words}\nweights_fitted_on: {{split: tune, fingerprint: {fingerprint}}}\n", encoding="utf-8")
    found = run(world, tmp_path, "--prompts", str(prompts), "--split", "validation")
    assert isinstance(found.exception, PromptError)
    assert "its weights were fitted on these pictures ('tune')" in str(found.exception)


RECOGNITION = (
    "name: small\nmin_items: 1\nstatistics: {draws: 100, permutations: 100}\ntasks:\n  - {task: recognition}\n"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a small shop, whose config quotes one of its two attributes."""
    folder = tmp_path_factory.mktemp("trained")
    write_catalogue(folder / "shop", items=48)
    base = write_open_clip(folder / "base", OPEN_CLIP["clip"])
    run = write_run(folder / "run", base, source=str(folder / "shop"))
    file = run.path / "config.yaml"
    raw = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**raw, "eval": {**raw["eval"], "headline": ["baseColour"]}}))
    (folder / "suite.yaml").write_text(RECOGNITION)
    return folder


def measure(trained: Path, out: Path, *more: str) -> int:
    given = ["eval", "--model", f"run:{trained / 'run'}", "--suite", str(trained / "suite.yaml"), "--device", "cpu"]
    return cli.main([*given, "--out", str(out), "--cache", str(trained / "cache"), *more])


def test_what_a_run_knows_reaches_its_report(trained: Path, tmp_path: Path) -> None:
    assert measure(trained, tmp_path) == 0
    found = Results.load(tmp_path)
    counts = resolve(model=f"run:{trained / 'run'}").training_counts()
    assert found.config["fitted_on"] == {"weights": "train", "epoch": "tune", "temperatures": "tune"}
    assert found.config["headline"] == ["baseColour"]
    assert counts is not None
    assert found.config["rare"] == {"baseColour": sorted(rare(counts["baseColour"]))}
    assert found.headline("rare_balanced_accuracy").n
    assert found.config["catalogue"]["split"] == "validation"


@pytest.mark.parametrize(("split", "what"), [("train", "weights was"), ("tune", "epoch was")])
def test_a_split_that_a_run_was_fitted_on_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, what: str
) -> None:
    assert measure(trained, tmp_path, "--split", split) == 2
    assert f"{what} fitted on '{split}'" in capsys.readouterr().err
    assert not (tmp_path / RESULTS).exists()
