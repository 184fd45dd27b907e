"""How far templates lie from the training: figures against a slow recomputation, with a tower of hashed words."""

import numpy as np
import pytest
from scoring_tower import FILE, Tower, labelled

from clipadapt.metrics.intervals import paired_balanced
from clipadapt.prompt_scoring import show
from clipadapt.prompt_scoring.distance import distances
from clipadapt.prompt_scoring.table import PromptScorer, ScorableItems
from clipadapt.prompts import Prompts

EDITED = FILE.replace(
    'templates: ["{a value} garment"', 'templates: [{text: "wholly other {value}", held_out: true}, "{a value} garment"'
)


@pytest.fixture(scope="module")
def scorer() -> PromptScorer:
    return PromptScorer(labelled(), Tower())


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_each_template_is_measured_alone_against_the_texts_of_the_training(scorer):
    trained, edited = Prompts.parse(FILE), Prompts.parse(EDITED)
    pattern, fit = distances(scorer, edited, trained, ["Pattern", "Fit", "Lonely"])
    assert [row.text for row in pattern.templates] == [
        "wholly other {value}",
        "{a value} garment",
        "a photo of {value} cloth",
    ], "one that describes says nothing of values without a description; held out ones are measured"
    assert [row.trained for row in pattern.templates] == [False, True, True]
    assert [row.line for row in pattern.templates] == [3, 3, 3]
    assert fit.templates[0].cosine == pytest.approx(1) and fit.templates[0].gap.mean == 0, "trained with this alone"
    tower, scorable = Tower(), scorer.scorable("Pattern")
    assert isinstance(scorable, ScorableItems)
    mine, theirs = [], []
    for value in scorable.values:
        names = {"Checked": ["checked", "plaid"], "Striped": ["striped"]}.get(value, [value.lower()])
        mine.append(np.mean([tower.vector(f"wholly other {name}") for name in names], axis=0))
        texts = zip(trained.value_texts("Pattern", value), trained.value_weights("Pattern", value), strict=True)
        theirs.append(np.sum([share * tower.vector(text) for text, share in texts], axis=0))
    mine, theirs = unit(np.array(mine)), unit(np.array(theirs))
    first = pattern.templates[0]
    assert first.cosine == pytest.approx((mine * theirs).sum(1).mean(), abs=1e-5)
    pictures = scorer.pictures("Pattern", scorable)
    right = [((pictures @ vectors.T).argmax(1) == scorable.codes).astype(float) for vectors in (theirs, mine)]
    slow = paired_balanced(right[0], right[1], scorable.codes, scorable.products, None, draws=1)
    assert first.gap == pytest.approx((slow.delta, slow.delta_low, slow.delta_high), abs=1e-6)
    assert pattern.templates[1].cosine > first.cosine and pattern.held_out.cosine < 1


def test_grids_and_json_hold_every_template(scorer):
    trained = Prompts.parse(FILE)
    found = distances(scorer, Prompts.parse(EDITED), trained, ["Pattern"])
    (grid,) = show.distance_grids(found)
    assert list(grid.columns[4].cells)[-1] == "" and {*list(grid.columns[4].cells)[:-1]} == {"new", "trained"}
    assert list(grid.columns[5].cells)[-1] == "(wordings that training never uses)"
    gaps = [row.gap.mean for row in found[0].templates]
    assert list(grid.columns[0].cells) == ["3"] * len(gaps) + [""]
    document = show.document(scorer.table(trained, attributes=["Pattern"]), found)
    assert document["distances"][0]["templates"][0]["text"] == "wholly other {value}"
    assert "distances" not in show.document(scorer.table(trained, attributes=["Pattern"]))
