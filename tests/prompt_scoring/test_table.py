"""The editor's table: equal to a slow recomputation in float64, cheap after an edit, honest about what was fitted."""

import numpy as np
import pytest
from scoring_tower import DIM, FILE, Tower, labelled

from clipadapt.errors import PromptError
from clipadapt.metrics.intervals import balanced_interval, paired_balanced
from clipadapt.prompt_scoring.random_words import controls
from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer, plain_of
from clipadapt.prompts import Prompts


@pytest.fixture(scope="module")
def found() -> LabelledPictures:
    return labelled()


def slow_scores(found: LabelledPictures, attribute: str, ensembles: dict[str, list], min_items: int = 5):
    """Codes' names, items used, 1 or 0 per item: loops and float64 throughout."""
    tower = Tower()
    labels = found.values[attribute]
    usable = [at for at, label in enumerate(labels) if label and np.isfinite(found.vectors[at]).all()]
    values = sorted(
        {str(labels[at]) for at in usable if sum(labels[other] == labels[at] for other in usable) >= min_items}
    )
    used = [at for at in usable if labels[at] in values]
    vectors = {}
    for value in values:
        mean = np.zeros(DIM)
        for text in ensembles[value]:
            mean += text.share * tower.vector(text.text).astype(float)
        vectors[value] = mean / np.sqrt((mean**2).sum())
    right = []
    for at in used:
        cosines = [float((vectors[value] * found.vectors[at].astype(float)).sum()) for value in values]
        right.append(float(values[cosines.index(max(cosines))] == labels[at]))
    return values, used, right


def test_equals_a_slow_obvious_recomputation(found):
    prompts = Prompts.parse(FILE, "own.yaml")
    other = Prompts.parse(FILE.replace("a photo of {value} cloth", "fabric, {value}"), "other.yaml")
    table = PromptScorer(found, Tower(), replicates=2).table(prompts, other)
    assert [one.attribute for one in table.attributes] == ["Pattern", "Fit"]
    assert table.skipped == ("Lonely: fewer than two values with at least 5 items",)
    for row in table.attributes:
        own = {value.value: prompts.ensemble(row.attribute, value.value) for value in row.values}
        theirs = {value: other.ensemble(row.attribute, value) for value in own}
        values, used, right = slow_scores(found, row.attribute, own)
        assert [value.value for value in row.values] == values and row.items == len(used)
        assert row.products == len({found.products[at] for at in used})
        before = slow_scores(found, row.attribute, theirs)[2]
        chance = np.mean(
            [slow_scores(found, row.attribute, {v: controls(t, n) for v, t in own.items()})[2] for n in (0, 1)], axis=0
        )
        codes = np.array([values.index(found.values[row.attribute][at]) for at in used])
        products = found.products[used]
        right, before = np.array(right), np.array(before)
        assert row.accuracy == pytest.approx(balanced_interval(right, codes, products), abs=1e-6)
        for difference, scores in ((row.gain, before), (row.over_random, chance)):
            expected = paired_balanced(right, scores, codes, products, draws=9)
            assert difference == pytest.approx(expected[:3], abs=1e-6)
        for value in row.values:
            own_right = [s for s, at in zip(right, used, strict=True) if found.values[row.attribute][at] == value.value]
            assert value.accuracy.mean == pytest.approx(np.mean(own_right), abs=1e-6) and value.items == len(own_right)
        for place, template in enumerate(row.templates):
            rest = {v: [t for t in texts if t.template != place] or texts for v, texts in own.items()}
            lacking = np.subtract(right, slow_scores(found, row.attribute, rest)[2])
            means = [lacking[codes == code].mean() for code in range(len(values))]
            assert template.effect.mean == pytest.approx(np.mean(means), abs=1e-6)
    assert [len(row.templates) for row in table.attributes] == [3, 0]
    assert [row.line for row in table.attributes[0].templates] == [3, 3, 3]
    for figure, each in (
        (table.accuracy, [row.accuracy for row in table.attributes]),
        (table.over_random, [row.over_random for row in table.attributes]),
    ):
        assert figure.mean == pytest.approx(np.mean([one.mean for one in each]))
        assert figure.low < figure.mean < figure.high
    assert table.gain is not None
    assert table.gain.mean == pytest.approx(np.mean([row.gain.mean for row in table.attributes if row.gain]))


def test_an_edit_encodes_and_scores_what_changed(found):
    tower = Tower()
    scorer = PromptScorer(found, tower)
    first = scorer.table(Prompts.parse(FILE, "p.yaml"))
    before, calls = len(tower.encoded), tower.calls
    again = scorer.table(Prompts.parse("# a comment\n" + FILE, "p.yaml"))
    assert tower.calls == calls
    assert [row.line for row in again.attributes[0].templates] == [4, 4, 4]
    assert again.attributes[1] == first.attributes[1]
    edited = FILE.replace("a photo of {value} cloth", "one photo of {value} cloth")
    scorer.table(Prompts.parse(edited, "p.yaml"))
    new = tower.encoded[before:]
    assert tower.calls == calls + 6
    assert sum("one photo of" in text for text in new) == 4
    assert all("garment" not in text and ":" not in text for text in new)
    assert len(new) <= 4 + 2 * 4


def test_what_words_do_is_told_from_what_averaging_does(found):
    table = PromptScorer(found, Tower()).table(Prompts.parse(FILE, "p.yaml"), plain_of(Prompts.parse(FILE)), "plain")
    assert table.against == "plain"
    pattern = table.attributes[0]
    assert pattern.over_random.mean == pytest.approx(pattern.accuracy.mean - pattern.random.mean)
    assert pattern.gain is not None and pattern.against is not None
    assert pattern.gain.mean == pytest.approx(pattern.accuracy.mean - pattern.against.mean)


def test_weights_fitted_on_these_pictures_are_not_scored_on_them(found):
    fitted = Prompts.parse(FILE + "weights_fitted_on: {split: tune, fingerprint: fingerprint}\n", "p.yaml")
    with pytest.raises(PromptError, match=r"p.yaml:10: its weights were fitted on these pictures \('tune'\)"):
        PromptScorer(found, Tower()).table(fitted)
    with pytest.raises(PromptError, match="fitted on these pictures"):
        PromptScorer(found, Tower()).table(Prompts.parse(FILE), fitted)
    PromptScorer(found._replace(fingerprint="another"), Tower()).table(fitted)


def test_nothing_to_score_is_said(found):
    with pytest.raises(PromptError, match="no attribute can be scored here: Fit: fewer than two values"):
        PromptScorer(found._replace(values={"Fit": [None] * 240}), Tower()).table(Prompts.parse(FILE))


def test_a_handful_of_products_is_no_proof():
    """Where three products of a value all got better nothing varies, and yet little is known."""
    texts = {"Slim": "slim", "Loose": "loose"}
    vectors = np.stack([Tower().vector(texts[fit]) for fit in ["Slim"] * 40 + ["Loose"] * 3])
    products = np.array([f"p{at}" for at in range(43)])
    few = LabelledPictures(vectors, {"Fit": ["Slim"] * 40 + ["Loose"] * 3}, products)
    prompts = Prompts.parse("attributes: {Fit: {templates: ['{value}'], values: {Slim: slim, Loose: loose}}}")
    swapped = Prompts.parse("attributes: {Fit: {templates: ['{value}'], values: {Slim: slim, Loose: baggy}}}")
    (row,) = PromptScorer(few, Tower(), min_items=3).table(prompts, swapped).attributes
    loose = next(value for value in row.values if value.value == "Loose")
    assert (loose.items, loose.products, loose.accuracy.mean) == (3, 3, 1.0)
    assert loose.accuracy.low < 0.7 and row.accuracy.low < 0.9
    assert loose.gain is None or loose.gain.high - loose.gain.low > 0.3


def test_items_of_one_product_are_not_scored():
    one = labelled()._replace(products=np.array(["same"] * 240))
    with pytest.raises(PromptError, match="Pattern: all its items are of one product"):
        PromptScorer(one, Tower()).table(Prompts.parse(FILE))


def test_random_words_keep_the_name_its_place_and_every_length():
    prompts = Prompts.parse(FILE)
    for value in ("Checked", "Striped", "Wavy"):
        texts = prompts.ensemble("Pattern", value)
        changed = controls(texts, 0)
        assert [text.share for text in changed] == [text.share for text in texts]
        for text, control in zip(texts, changed, strict=True):
            assert texts[0].name in control.text
            others = [len(word) for word in control.text.replace(texts[0].name, "").split()]
            assert others == [len(word) for word in text.text.replace(text.name, "", 1).split()]
        assert changed == controls(texts, 0) and changed != controls(texts, 1)
    checked, striped = (controls(prompts.ensemble("Pattern", value), 0) for value in ("Checked", "Striped"))
    assert checked[0].text.replace("checked", "") == striped[0].text.replace("striped", "")
    assert len({text.text for text in checked}) == len(checked)
