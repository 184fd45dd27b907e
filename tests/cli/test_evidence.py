"""clipadapt evidence, as typed."""

import json
from pathlib import Path

import pytest
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main

POLICY = (
    "conditions: [{row: headline, metric: average_precision, bound: delta_low, above: %s, why: people in this category "
    "would be found less often}]"
)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evidence")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    write_run(root / "run", root / "base", preset="text")
    gate = str(write_gate(root))
    assert main(["release", "create", str(root / "releases"), str(root / "run"), "--gate", gate, "--promote"]) == 0
    return root / "releases"


@pytest.mark.parametrize(("above", "code"), [(0.0, 0), (0.05, 3)])
def test_a_regression_in_a_sensitive_category_ends_with_3(releases, tmp_path, capsys, above, code):
    """The report's lower bound of the gain is 0.02."""
    (tmp_path / "sensitive.yaml").write_text(POLICY % above)
    out = tmp_path / "out"
    given = ["evidence", str(releases), "--policy", str(tmp_path / "sensitive.yaml"), "--out", str(out)]
    assert main(given) == code
    text = capsys.readouterr()
    assert "not measured: Drift: no report named; clipadapt drift" in text.err
    assert ("found less often" in text.err) == (code == 3) and ("1 condition(s) hold" in text.out) == (code == 0)
    document = json.loads((out / "evidence.json").read_text())
    assert document["release"] == "000001" and document["passed"] is (code == 0)
    titles = [section["title"] for section in document["sections"]]
    assert titles[0] == "What it is" and "How to roll back" in titles and titles[-1] == "Files"
    assert all(fact["source"] for section in document["sections"] for fact in section["facts"])
    assert "Evidence for 000001" in (out / "evidence.html").read_text(encoding="utf-8")


def test_what_is_no_release(tmp_path, capsys):
    assert main(["evidence", str(tmp_path)]) == 2
    assert "no such release" in capsys.readouterr().err
