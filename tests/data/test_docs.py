"""What docs/catalogues.md says is what happens: its Python runs, and its names of columns have the parts it gives."""

import json
import re
from pathlib import Path

import pytest
from data_factory import paint

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.policy import Policy
from clipadapt.data.role_names import named

DOCS = (Path(__file__).parents[2] / "docs/catalogues.md").read_text(encoding="utf-8")


def test_the_python_example_writes_a_catalogue(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/catalogues.md", "exec"), {})
    paint("Red", "", 16, 0).save(tmp_path / "1.jpg")
    catalogue = Catalogue.load(tmp_path, attributes=["Pattern"])
    assert catalogue.row(0) == {"Pattern": "Striped", "Colours": "Red|Blue"}
    assert json.loads((tmp_path / "metadata.jsonl").read_text())["file_name"] == "1.jpg"


PARTS = {
    "picture": {"image"},
    "product": {"group", "product", "maybe product", "code"},
    "id": {"id", "code"},
    "title": {"title"},
    "price": {"price"},
    "number, no id": {"number"},
}


@pytest.mark.parametrize("part", PARTS)
def test_names_have_the_parts_that_the_table_gives(part):
    (cell,) = re.findall(rf"^\| {part} \| (.*) \|$", DOCS, re.MULTILINE)
    names = re.split(r", |; | or | where ", re.sub(r"(; else .*| where (they|every).*)", "", cell))
    assert len(names) > 2
    for name in names:
        assert named(name) in PARTS[part], name


def test_the_policy_in_the_docs_is_one(tmp_path):
    (text,) = re.findall(r"```yaml\n(column: licence.*?)```", DOCS, re.DOTALL)
    (tmp_path / "policy.yaml").write_text(text)
    policy = Policy.load(tmp_path / "policy.yaml")
    assert policy.permits(["cc0-1.0", "In-house", "", "Other"], "index").tolist() == [True, False, False, False]


def test_the_figures_of_the_audit_are_those_that_were_measured():
    measured = json.loads((Path(__file__).parents[2] / "eval/results/label_audit.json").read_text())["headline"]
    said = " ".join(DOCS.split())
    assert f"in {100 * measured['coverage_of_all_attributes']:.1f}% of {measured['simulations']} simulations" in said
    assert f"hold {100 * measured['errors_in_first_12_percent']:.0f}% of the errors" in said
