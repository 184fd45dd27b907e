"""Weights written back: the same file but for its weights, in every notation a template can have."""

import pytest

from clipadapt.prompts import Prompts
from clipadapt.prompts.weights import reweighed

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
        'weights_fitted_on: {split: "other", seed: 3, fingerprint: "def"}   # not to be scored on these pictures',
    ]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="no attribute 'Nek'"):
        reweighed(FILE, {"Nek": [1]}, split="tune", fingerprint="")
    with pytest.raises(ValueError, match="Fit has 2 templates"):
        reweighed(FILE, {"Fit": [1]}, split="tune", fingerprint="")
