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
