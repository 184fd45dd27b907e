"""Weights written back: the same file but for its weights, in every notation a template can have."""

from pathlib import Path

import pytest

from clipadapt.errors import PromptError
from clipadapt.prompts import Prompts
from clipadapt.prompts.weights import reweighed

SHIPPED = Path(__file__).parents[2] / "prompts"

FILE = """# my file
captions: ["{kind}"]   # keep me
attributes:
  Pattern:   # a comment
    templates:   # in five notations
      - "a {value} one"   # double
      - 'single: {value}, it''s'
      - plain {value}, with a comma
      - {text: "flow {value}", weight: 3}   # had one
      - {text: "flow {value} bare"}
      - text: block {value}
        weight: 2   # had one, too
      - text: "block {value} bare"
      - >
        folded
        {value}
      - "last {value}"
    values: {Checked: [checked]}
  Fit: {templates: ["{value} fit", "{value}"]}   # flow
  Neck:
    templates: "with {value}"
"""


def test_only_weights_change():
    weights = {"Pattern": [0.5, 0, 1.25, 2, 1, 0.75, 1.5, 0.1, 4], "Fit": [1, 0.3], "Neck": [1]}
    text = reweighed(FILE, weights, split="tune", fingerprint="abc")
    before, after = Prompts.parse(FILE), Prompts.parse(text)
    for attribute, expected in weights.items():
        old, new = before.wording(attribute).templates, after.wording(attribute).templates
        assert [entry.what.text.strip() for entry in new] == [entry.what.text.strip() for entry in old]
        assert [entry.weight for entry in new] == expected
    assert before.library.captions[0].what == after.library.captions[0].what
    for comment in (
        "# my file",
        "# keep me",
        "# a comment",
        "# in five notations",
        "# double",
        "# had one, too",
        "# flow",
    ):
        assert comment in text
    assert after.library.fitted_on is not None
    assert (after.library.fitted_on.split, after.library.fitted_on.fingerprint) == ("tune", "abc")
    again = reweighed(text, {"Fit": [2, 2]}, split="other", seed=3, fingerprint="def")
    assert again.count("weights_fitted_on") == 1
    fitted = Prompts.parse(again).library.fitted_on
    assert fitted is not None and (fitted.seed, fitted.fingerprint) == (3, "def")
    changed = [line for line in again.splitlines() if line not in text.splitlines()]
    assert changed == [
        '  Fit: {templates: [{text: "{value} fit", weight: 2}, {text: "{value}", weight: 2}]}   # flow',
        'weights_fitted_on: {split: "other", seed: 3, fingerprint: "def"}',
    ]
    assert "# not to be scored on these pictures\nweights_fitted_on" in again


ODD = """captions:
- "{kind}"
# about attributes
attributes:
    "No":
        templates:
        - "{value} b"    # x

        # before
        - text: "c {value}"

    036: {templates: [{text: "{value}", weight: 1.0}]}
    Fit: {templates: ["{value}"]}

# the end
"""


def test_indentation_keys_and_comments_stay_as_they_were_typed():
    lines = reweighed(ODD, {"No": [1, 2.5], "036": [0.25]}, split="tune", fingerprint="abc").splitlines()
    assert lines == [
        *ODD.splitlines()[:6],
        '        - {text: "{value} b", weight: 1} # x',
        "",
        "        # before",
        "        - weight: 2.5",
        '          text: "c {value}"',
        "",
        '    036: {templates: [{text: "{value}", weight: 0.25}]}',
        *ODD.splitlines()[-3:-2],
        "# not to be scored on these pictures",
        'weights_fitted_on: {split: "tune", seed: 0, fingerprint: "abc"}',
        *ODD.splitlines()[-2:],
    ]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_only_lines_of_templates_change_in_shipped_files(path):
    text = path.read_text(encoding="utf-8")
    attributes = Prompts.parse(text).library.attributes
    weights = {name: [1.5] * len(words.templates) for name, words in attributes.items()}
    after = reweighed(text, weights, split="tune", fingerprint="abc")
    lines = after.splitlines()
    assert lines[-1].startswith("weights_fitted_on")
    changed = {number for number, line in enumerate(text.splitlines(), start=1) if line not in lines}
    assert changed <= {entry.place.line for words in attributes.values() for entry in words.templates}


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="no attribute 'Nek'"):
        reweighed(FILE, {"Nek": [1]}, split="tune", fingerprint="")
    with pytest.raises(PromptError, match="'kind' is already there in line 1"):
        reweighed("attributes: {kind: {templates: a}, kind: {templates: b}}", {}, split="tune", fingerprint="")
    with pytest.raises(ValueError, match="Fit has 2 templates"):
        reweighed(FILE, {"Fit": [1]}, split="tune", fingerprint="")


def test_what_is_held_out_keeps_its_weight():
    file = "attributes:\n  X:\n    templates: ['{value}', {text: 'a {value}', held_out: true}, 'the {value}']\n"
    text = reweighed(file, {"X": [0.5, 0, 1.5]}, split="tune", fingerprint="")
    assert "{text: 'a {value}', held_out: true}" in text
    entries = Prompts.parse(text).library.attributes["X"].templates
    assert [(entry.weight, entry.held_out) for entry in entries] == [(0.5, False), (1.0, True), (1.5, False)]
