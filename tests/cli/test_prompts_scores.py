"""clipadapt prompts score and weigh, as typed, with a small model of random weights on drawn garments."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipadapt.cli import prompts as verbs
from clipadapt.config import Config, Lora
from clipadapt.data.garments.write import draw
from clipadapt.errors import PromptError
from clipadapt.prompt_scoring import watch
from clipadapt.prompt_scoring.weigh import Weighing
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.towers.adapter import save_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters
from clipadapt.towers.small import create_small

FILE = """# mine
attributes:
  category: {templates: ["a drawing of {a value}", "{a value}"]}   # two
  colour:
    templates:
      - "{a value} garment"   # first
      - "something {value}"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("world")
    source = draw(folder / "garments", items=48, seed=0, size=32)
    return str(source), f"local-dir:{create_small(folder / 'model', seed=0)}"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run(verb: str, *arguments: str):
    return CliRunner().invoke(verbs.app, [verb, *arguments])


def test_score_prints_and_writes_a_table(world, tmp_path):
    source, model = world
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    out = tmp_path / "table.json"
    arguments = [str(path), "--model", model, "--source", source, "--min-items", "2"]
    found = run("score", *arguments, "--against", "plain", "--json", str(out))
    assert found.exit_code == 0, found.output
    assert (
        "against plain" in found.stdout
        and "against random words" in found.stdout
        and "something {value}" in found.stdout
    )
    table = json.loads(out.read_text())
    assert [one["attribute"] for one in table["attributes"]] == ["category", "colour"]
    assert table["against"] == "plain" and len(table["attributes"][0]["templates"]) == 2
    again = run("score", *arguments, "--against", "plain", "--attribute", "colour")
    assert again.exit_code == 0 and "category" not in again.stdout
    missing = run("score", *arguments, "--attribute", "color")
    assert isinstance(missing.exception, PromptError) and "no column 'color'" in str(missing.exception)


def test_weigh_writes_only_what_helps_and_is_not_scored_where_it_was_fitted(world, tmp_path, monkeypatch):
    source, model = world
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    arguments = [str(path), "--model", model, "--source", source, "--split", "train", "--min-items", "2"]
    found = run("weigh", *arguments)
    assert found.exit_code == 0, found.output
    assert "no attribute gains" in found.stderr and not (tmp_path / "p.weighed.yaml").exists()

    monkeypatch.setattr(Weighing, "claimed", property(lambda one: one.attribute == "colour"))
    assert run("weigh", *arguments, "--no-labels").exit_code == 0
    text = (tmp_path / "p.weighed.yaml").read_text()
    assert "# mine" in text and "# first" in text and '["a drawing of {a value}", "{a value}"]' in text
    weights = [entry.weight for entry in Prompts.parse(text).wording("colour").templates]
    assert weights != [1.0, 1.0] and sum(weights) == pytest.approx(2.0, abs=0.02)
    refused = run("score", str(tmp_path / "p.weighed.yaml"), *arguments[1:])
    assert isinstance(refused.exception, PromptError) and "fitted on these pictures ('train')" in str(refused.exception)


def type_while_watching(path: Path, edits: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher's looks at the file find an edit each fourth time, and end after the last."""
    looks = itertools.count()

    def wait(_: float) -> None:
        if next(looks) % 4 == 0:
            edit = next(edits, None)
            if edit is None:
                raise KeyboardInterrupt
            path.write_text(edit)

    real = watch.saves
    monkeypatch.setattr(watch, "saves", lambda file: real(file, wait=wait))


def test_watching_shows_what_moved_and_keeps_the_last_good_table(world, tmp_path, monkeypatch):
    source, model = world
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    edits = iter(
        [FILE[:40], FILE.replace("something {value}", "a {value} thing"), FILE.replace("{a value} garment", "gar")]
    )
    type_while_watching(path, edits, monkeypatch)
    found = run("score", str(path), "--model", model, "--source", source, "--min-items", "2", "--watch")
    assert found.exit_code == 0, found.output
    assert found.stderr.count("the table above still stands") == 2
    assert "not valid YAML" in found.stderr and "has to name {value}" in found.stderr and "stopped" in found.stderr
    assert found.stdout.count("│ mean") == 2 and "\nmean " in found.stdout


def test_lint_and_preview_ask_the_model(world, tmp_path):
    source, model = world
    path = tmp_path / "p.yaml"
    long = " ".join(["word"] * 90)
    path.write_text(
        f'captions: ["{{a colour}} {long} {{category}}"]\n'
        f'attributes: {{category: {{templates: ["{{value}} {long}"]}}}}\n'
    )
    found = run("lint", str(path), "--source", source, "--model", model, "--near", "-1")
    assert found.exit_code == 1
    assert "caption longer than the 77 tokens that are read" in found.stdout and "words after | are cut" in found.stdout
    assert "error: category: a text of" in found.stdout and "is nearly the same as" in found.stdout
    path.write_text('captions: ["{a colour} {category}"]\n')
    shown = run("preview", str(path), "--source", source, "--model", model, "-n", "3")
    assert shown.exit_code == 0 and "tokens" in shown.stdout


def test_weights_fitted_on_tune_are_not_scored_on_a_split_that_holds_it(world, tmp_path, monkeypatch):
    source, model = str(draw(tmp_path / "garments", items=240, seed=1, size=16)), world[1]
    path, weighed = tmp_path / "p.yaml", str(tmp_path / "p.weighed.yaml")
    path.write_text(FILE)
    arguments = ["--model", model, "--source", source, "--min-items", "1"]
    monkeypatch.setattr(Weighing, "claimed", property(lambda one: one.attribute == "colour"))
    assert run("weigh", str(path), *arguments).exit_code == 0
    for judged in ((weighed,), (str(path), "--against", weighed)):
        refused = run("score", *judged, *arguments, "--split", "train")
        assert isinstance(refused.exception, PromptError), refused.output
        assert "its weights were fitted on these pictures ('tune'): " in str(refused.exception)
    assert run("score", weighed, *arguments).exit_code == 0
    elsewhere = run("weigh", weighed, *arguments, "--split", "validation")
    assert "fitted on other pictures already ('tune')" in str(elsewhere.exception)


def test_attributes_that_the_source_or_the_other_file_lacks_are_named(world, tmp_path, caplog):
    source, model = world
    path, other = tmp_path / "p.yaml", tmp_path / "other.yaml"
    path.write_text(FILE.replace("colour:", 'colur: {templates: ["{value}"]}\n  colour:'))
    other.write_text('attributes: {colour: {templates: ["{value}"]}}\n')
    arguments = ["--model", model, "--source", source, "--min-items", "2"]
    found = run("score", str(path), *arguments, "--against", str(other))
    assert found.exit_code == 0, found.output
    assert f"not scored: {path}:4: colur: the source has no such column; did you mean 'colour'?" in caplog.text
    assert f"category against {other}, which has no words for it" in found.stderr
    path.write_text('attributes: {colur: {templates: ["{value}"]}}\n')
    nothing = run("score", str(path), *arguments)
    assert isinstance(nothing.exception, PromptError) and "no attribute that can be scored" in str(nothing.exception)


def test_a_section_typed_while_watching_is_scored(world, tmp_path, monkeypatch):
    source, model = world
    path = tmp_path / "p.yaml"
    path.write_text('attributes: {category: {templates: ["{value}"]}}\n')
    edits = iter([FILE, 'attributes: {colour: {templates: ["{value}"]}}\n'])
    type_while_watching(path, edits, monkeypatch)
    found = run("score", str(path), "--model", model, "--source", source, "--min-items", "2", "--watch")
    assert found.exit_code == 0, found.output
    assert "still stands" not in found.stderr
    first, both, last = found.stdout.split("accuracy, in percent")[1:]
    assert "│ colour" not in first and "│ category" in both and "│ colour" in both and "│ category" not in last


def test_score_of_a_run_says_how_far_templates_lie_from_its_training(world, tmp_path):
    source, base = world
    path, config = tmp_path / "p.yaml", tmp_path / "c.yaml"
    path.write_text(FILE)
    data = f"{{source: {source}, attributes: [category, colour]}}"
    config.write_text(
        f"name: t\noutput_dir: {tmp_path / 'run'}\nmodel: {{name: '{base}'}}\ndata: {data}\nprompts: {path}\n"
    )
    made = Run.create(Config.load(config))
    encoder = load(base)
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, Lora(dropout=0.0), seed=0)
    save_adapter(encoder, made.adapter)
    path.write_text(FILE.replace("something {value}", "whatever is {value}"))
    out = tmp_path / "table.json"
    arguments = [str(path), "--source", source, "--min-items", "2", "--attribute", "colour", "--json", str(out)]
    found = run("score", *arguments, "--model", f"run:{made.path}")
    assert found.exit_code == 0, found.output
    assert "against the texts of the training" in found.stdout and "new" in found.stdout
    (colour,) = json.loads(out.read_text())["distances"]
    assert [(row["text"], row["trained"]) for row in colour["templates"]] == [
        ("{a value} garment", True),
        ("whatever is {value}", False),
    ]
    assert run("score", *arguments, "--model", base).exit_code == 0
    assert "distances" not in json.loads(out.read_text()), "of a base nobody knows what it was trained with"
