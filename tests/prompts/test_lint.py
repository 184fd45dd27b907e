"""Lint: every kind of finding, with its level and line; a context that cuts words; values a model hears as one."""

from pathlib import Path

import numpy as np
import pytest

from clipadapt.prompts import Prompts
from clipadapt.prompts.fit import Context, nearly_same, too_long
from clipadapt.prompts.lint import Source, lint

ROOT = Path(__file__).parents[2]

FILE = """captions:
  - "a [{Pattern} ]{kind}"
  - "a {kind}[ in {Fabric}]"
  - "{kind} with {Nonsense}"
  - "{empty} {kind}"
  - "{kind}: {description}"
attributes:
  Pattern:
    templates: ["a {value} thing", "{value}"]
    values:
      Checked: [checked, Checked]
      Squares: [checked]
      Plain: [plain, embroidered]
      Stitched: [stitched, embroidered]
      Stripes: [striped]
  kind: {templates: ["{value}"], values: {Jeans: {names: [jeans], article: a pair of}, Shirt: [shirt]}}
  Fabric: {templates: ["{value}"]}
  Fit: {templates: ["{value}"]}
"""
COLUMNS = ["id", "Pattern", "kind", "Fabric", "empty", "description"]
ROWS = [
    {"id": "1", "Pattern": "Checked", "kind": "Jeans", "Fabric": "", "empty": "", "description": "short"},
    {"id": "2", "Pattern": "Squares", "kind": "Shirt", "Fabric": "", "empty": "", "description": "word " * 30},
    {"id": "3", "Pattern": "Stripped", "kind": "Shirt", "Fabric": "", "empty": "", "description": ""},
    {"id": "4", "Pattern": "Plain", "kind": "Shirt", "Fabric": "", "empty": "", "description": ""},
    {"id": "5", "Pattern": "Stitched", "kind": "", "Fabric": "", "empty": "", "description": ""},
]


def found(file: str, rows=None, columns=COLUMNS) -> list[str]:
    prompts = Prompts.parse(file, "f.yaml")
    source = Source.of(prompts, columns, rows) if rows is not None else None
    return [finding.line("f.yaml") for finding in lint(prompts, source)]


def test_every_kind_of_finding_has_its_line():
    lines = found(FILE, ROWS)
    for expected in (
        "f.yaml:2:5: warning: 'a' before Pattern reads wrongly with 'embroidered'; let {a Pattern} choose it",
        "f.yaml:4:5: error: unknown field {Nonsense}: no such column",
        "f.yaml:9:17: warning: 'a' before Pattern reads wrongly with",
        "f.yaml:11:26: warning: Pattern: 'Checked' has the name 'Checked' twice (first in line 11)",
        "f.yaml:12:7: error: Pattern: 'Checked' and 'Squares' have the same texts",
        "f.yaml:14:7: warning: Pattern: 'Plain' and 'Stitched' share 2 text(s)",
        "f.yaml:15:7: warning: Pattern: no item has the value 'Stripes'; did you mean 'Stripped'?",
        "f.yaml:8:3: note: Pattern: 1 value(s) are not listed and go by their own names: 'Stripped' (1 items)",
        "f.yaml:17:3: warning: attribute 'Fabric': every item's cell is empty",
        "f.yaml:18:3: error: attribute 'Fit': no such column",
    ):
        assert any(expected in line for line in lines), f"{expected}\nnot in\n" + "\n".join(lines)
    assert lines == sorted(lines, key=lambda line: tuple(map(int, line.split(":")[1:3])))


def test_templates_are_judged_against_items_once_their_fields_exist():
    file = FILE.replace('  - "{kind} with {Nonsense}"\n', "").replace('  Fit: {templates: ["{value}"]}\n', "")
    lines = found(file, ROWS)
    assert any("f.yaml:2:5: error: 1 item(s) get no caption from any template: '5'" in line for line in lines)
    assert any("f.yaml:4:5: warning: no item has what this template needs ('empty', 'kind')" in line for line in lines)
    twice = 'captions: ["{kind}", "{ kind }[ {Fabric}]"]'
    assert any("says the same as line 1 for every item" in line for line in found(twice, ROWS[:4]))


def test_a_file_alone_and_a_lenient_file():
    assert not any("no such column" in line or "no item" in line for line in found(FILE))
    lines = found("missing_columns: allow\n" + FILE, ROWS)
    assert not any("error" in line and "no such column" in line for line in lines)
    assert any("note: 2 column(s) are not there and count as empty: 'Nonsense', 'Fit'" in line for line in lines)


@pytest.mark.parametrize(
    ("column", "there"), [("land_cover", "landcover"), ("land_cover", "Land Cover"), ("sensor", "sensors")]
)
def test_a_lenient_file_names_the_column_that_was_meant(column, there, caplog):
    file = (
        f"missing_columns: allow\ncaptions: ['{{{column}}}']\nattributes: {{{column}: {{templates: ['{{value}}']}}}}\n"
    )
    lines = found(file, [{there: "forest"}], [there])
    hint = f"no such column, so it counts as empty; did you mean '{there}'?"
    assert any(line.startswith("f.yaml:2:") and hint in line for line in lines)
    assert any(line.startswith("f.yaml:3:") and hint in line for line in lines)
    Prompts.parse(file, "f.yaml").check([there])
    assert f"did you mean '{there}'?" in caplog.text
    caplog.clear()
    Prompts.parse(file, "f.yaml").check([column])
    Prompts.parse(file, "f.yaml").check(["unrelated"])
    assert not caplog.text


def test_a_text_of_two_attributes_is_pointed_at():
    file = """attributes:
  Fabric: {templates: ["a {value} thing"], values: {Cotton: [cotton], Silk: [silk]}}
  Material:
    templates: ["a {value} thing", "material {value}"]
    values:
      Wood: [wood]
      Cotton: [Cotton]
"""
    lines = [line for line in found(file) if "cannot be told apart" in line]
    assert len(lines) == 1
    assert (
        "f.yaml:7:7: warning: Material: 1 text(s) of its values are also texts of Fabric: 'a cotton thing'" in lines[0]
    )
    rows = [{"Fabric": "Denim", "Material": "Denim"}, {"Fabric": "", "Material": "Wood"}]
    lines = [line for line in found(file, rows, ["Fabric", "Material"]) if "cannot be told apart" in line]
    assert len(lines) == 1 and "Fabric 'Denim' and Material 'Denim'" in lines[0]
    assert not any("cannot be told apart" in line for line in found(file.replace('"a {value} thing", ', "")))


LISTS = 'captions: ["a {a for kind} {colour} {kind}"]\nattributes:\n  colour: {templates: ["{value}"]}\n'


def test_lists_that_the_file_does_not_know_of_are_split_and_pointed_at():
    """Whether the separator comes from a catalogue's declaration, or only cells look like lists."""
    row = {"kind": "box", "colour": "Red|Blue"}
    prompts = Prompts.parse(LISTS, "f.yaml").with_separators({"colour": "|"})
    source = Source.of(prompts, ["kind", "colour"], [row])
    assert source.values["colour"] == {"Red": 1, "Blue": 1}
    lines = [finding.line("f.yaml") for finding in lint(prompts, source)]
    expected = (
        "f.yaml:3:3: warning: colour: its cells hold several values, separated by '|', which the file does not say"
    )
    assert any(expected in line for line in lines), lines
    lines = found(LISTS, [row], ["kind", "colour"])
    assert any("colour: cells such as 'Red|Blue' are said as they stand" in line for line in lines), lines
    assert not any("separat" in line for line in found(LISTS, [{**row, "colour": "Red"}], ["kind", "colour"]))
    other = Prompts.parse(LISTS.replace("{templates", '{separator: ";", templates'), "f.yaml")
    other = other.with_separators({"colour": "|"})
    lines = [finding.line("f.yaml") for finding in lint(other, Source.of(other, ["kind", "colour"], [row]))]
    assert any("error: colour: the catalogue separates its values by '|', not ';'" in line for line in lines), lines


def test_columns_without_words_are_split_too():
    """A column that only captions name."""
    prompts = Prompts.parse('captions: ["a {colour} box"]').with_separators({"colour": "|"})
    assert prompts.captions({"colour": "Red|Blue"}) == ["a red and blue box"]
    assert prompts.caption({"colour": "Red|Blue"}, (0, 0, 0)) == "a red and blue box"
    assert Prompts.parse('captions: ["a {colour} box"]').captions({"colour": "Red|Blue"}) == ["a red|blue box"]


@pytest.mark.parametrize("path", sorted((ROOT / "prompts").rglob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_have_no_findings_on_their_own(path):
    prompts = Prompts.load(path)
    assert [finding.line(path.name) for finding in lint(prompts)] == []


def ids(text: str) -> list[int]:
    """A tokenizer of two letters per token, start and end tokens, padding and a context of 12."""
    pieces = [word[at : at + 2] for word in text.split() for at in range(0, len(word), 2)]
    content = [1, *(1000 + hash(piece) % 1000 for piece in pieces)][:11]
    return [*content, 2, *[0] * (11 - len(content))]


def test_context_counts_tokens_and_finds_the_words_that_are_cut():
    context = Context(ids, 12)
    assert context.count("aa bb cccc") == 6
    assert context.cut("aa bb cc dd ee ff gg hh ii jj") == []
    assert context.cut("aa bb cc dd ee ff gg hh ii jj kk ll") == ["kk", "ll"]
    assert context.cut("aa bb cc dd ee ff gg hh ii jjkk ll") == ["jjkk", "ll"]
    assert context.cut("aabbccddeeffgghhiijjkk") == ["aabbccddeeffgghhiijjkk"]


def test_long_captions_and_texts_are_pointed_at():
    prompts = Prompts.parse(
        'captions: ["{kind}: {description}"]\n'
        'attributes: {kind: {templates: ["a very long text that says {value} at the very end of it"]}}',
        "f.yaml",
    )
    source = Source.of(prompts, COLUMNS, ROWS[:3])
    lines = [finding.line("f.yaml") for finding in too_long(prompts, source, Context(ids, 12))]
    assert "f.yaml:1:12: warning: 1 item(s) have a caption longer than the 12 tokens" in lines[0]
    assert "of item 2 the words after | are cut: shirt: word word word | word" in lines[0]
    assert "error: kind: a text of 'Jeans' is longer" in lines[1] and lines[1].endswith(
        "cut are: says jeans at the very end of it"
    )


def test_values_that_a_model_hears_as_one():
    prompts = Prompts.parse('attributes: {kind: {templates: ["{value}"], values: {A: a1, B: b1, C: c1}}}', "f.yaml")
    vectors = np.array([[1.0, 0.0], [0.995, np.sqrt(1 - 0.995**2)], [0.0, 1.0]])
    lines = [f.line("f.yaml") for f in nearly_same(prompts, None, lambda attribute, values: vectors, 0.98)]
    assert len(lines) == 1 and "'B' is nearly the same as 'A (0.995)'" in lines[0]


def test_braces_in_names_and_cells_are_told_and_said_as_they_stand():
    file = 'attributes:\n  Pattern:\n    templates: ["{value} top"]\n    values: {Striped: ["{odd} stripes"]}\n'
    told = found(file, [{**dict.fromkeys(COLUMNS, ""), "Pattern": value} for value in ("Striped", "a {b} [c]")])
    assert any(line.startswith("f.yaml:4:") and "braces in '{odd} stripes'" in line for line in told), told
    assert any("braces in 'a {b} [c]'" in line for line in told), told
    prompts = Prompts.parse(file)
    assert prompts.value_texts("Pattern", "Striped") == ["{odd} stripes top"]
    assert prompts.value_texts("Pattern", "a {b} [c]") == ["a {b} [c] top"]
