"""What docs/catalogues.md says is what happens: its Python runs, and its names of columns have the parts it gives."""

import json
import re
from pathlib import Path

import pytest
from data_factory import paint

from clipadapt.data.catalogue import Catalogue
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
