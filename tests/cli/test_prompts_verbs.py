"""clipadapt prompts lint and preview, as typed, on a folder of pictures."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipadapt.cli.prompts import app
from clipadapt.errors import PromptError


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "train").mkdir()
    rows = [("1", "shirt", "red"), ("2", "bag", ""), ("3", "umbrella", "blue")]
    for name, _, colour in rows:
        Image.new("RGB", (40, 30), colour or "white").save(folder / "train" / f"{name}.png")
    lines = [f"{name}.png,{name},{kind},{colour}" for name, kind, colour in rows]
    (folder / "train" / "metadata.csv").write_text("\n".join(["file_name,id,kind,colour", *lines]) + "\n")
    return folder


def prompts_file(folder: Path, text: str) -> str:
    (folder / "p.yaml").write_text(text)
    return str(folder / "p.yaml")


def test_lint_exits_1_on_errors_and_0_on_less(source, tmp_path):
    faulty = prompts_file(tmp_path, 'captions: ["{a kind} {colur}"]\n')
    result = CliRunner().invoke(app, ["lint", faulty, "--source", str(source)])
    assert result.exit_code == 1
    assert (
        f"{faulty}:1:12: error: unknown field {{colur}}" in result.stdout and "did you mean 'colour'" in result.stdout
    )
    assert "1 error(s), 0 warning(s), 0 note(s)" in result.stderr
    sound = prompts_file(tmp_path, 'captions: ["a {kind}"]\nattributes: {kind: {templates: ["{value}"]}}\n')
    result = CliRunner().invoke(app, ["lint", sound, "--source", str(source)])
    assert result.exit_code == 0 and "warning: 'a' before kind reads wrongly with 'umbrella'" in result.stdout
    assert CliRunner().invoke(app, ["lint", sound]).exit_code == 0


def test_preview_writes_a_page_and_prints_captions(source, tmp_path):
    path = prompts_file(
        tmp_path, 'captions: ["{a kind}[ in {colour}]"]\nattributes: {kind: {templates: ["{value}"]}}\n'
    )
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["preview", path, "--source", str(source), "--out", str(out), "-n", "2"])
    assert result.exit_code == 0, result.output
    assert out.read_text().count("data:image/jpeg") == 2
    everything = CliRunner().invoke(app, ["preview", path, "--source", str(source)]).stdout
    assert "an umbrella in blue" in everything and "a bag\n" in everything


def test_preview_of_a_file_for_other_columns_says_so(source, tmp_path):
    path = prompts_file(tmp_path, 'captions: ["{size}"]\n')
    result = CliRunner().invoke(app, ["preview", path, "--source", str(source)])
    assert isinstance(result.exception, PromptError) and "'size' is no column" in str(result.exception)


def test_several_values_of_a_cell_are_joined_as_the_config_says(source, tmp_path):
    """A config declares the column multi, the prompts file has no separator: captions join, lint says so."""
    lists = tmp_path / "lists" / "train"
    lists.mkdir(parents=True)
    for name in "12":
        Image.new("RGB", (40, 30), "white").save(lists / f"{name}.png")
    (lists / "metadata.csv").write_text("file_name,kind,colour\n1.png,box,Red|Blue\n2.png,bag,Red\n")
    path = prompts_file(
        tmp_path, 'captions: ["a {colour} {kind}"]\nattributes: {colour: {templates: ["{value} thing"]}}\n'
    )
    config = tmp_path / "c.yaml"
    config.write_text(
        f"name: c\noutput_dir: {tmp_path}/run\nprompts: {path}\n"
        f"data: {{source: {lists.parent}, attributes: {{colour: {{kind: multi}}}}}}\n"
    )
    result = CliRunner().invoke(app, ["preview", path, "--config", str(config)])
    assert result.exit_code == 0, result.output
    assert "a red and blue box" in result.stdout and "red|blue" not in result.stdout
    result = CliRunner().invoke(app, ["lint", path, "--config", str(config)])
    assert "colour: its cells hold several values, separated by '|', which the file does not say" in result.stdout


def test_preview_says_why_no_item_has_a_caption(source, tmp_path):
    path = prompts_file(tmp_path, 'missing_columns: allow\ncaptions: ["a {colours}"]\n')
    result = CliRunner().invoke(app, ["preview", path, "--source", str(source)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("no caption: needs colours") == 3
    assert "3 of 3 items have no caption" in result.stderr
