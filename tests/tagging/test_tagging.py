"""Tags against searches by brute force, figures by hand, and the promise of precision in simulated worlds."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax as plain_softmax
from scipy.stats import binom

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.errors import ConfigError, SpaceError
from clipadapt.prompts import Prompts
from clipadapt.recognition.calibration import Scale, fit_softmax, log_shares, softmax
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.rows import HEADLINE, select
from clipadapt.tagging.certify import certify, chance, effective, least
from clipadapt.tagging.describe import Describer
from clipadapt.tagging.predictions import candidates_of, predict, truth_of
from clipadapt.tagging.report import report
from clipadapt.tagging.table import table
from clipadapt.tagging.tag import FORMS, Tagged, tag, uncertain
from clipadapt.tagging.thresholds import Thresholds, fit

WORDS = """
not_applicable: {cells: [Not Applicable, "N/A"], texts: ["{attribute} none"]}
captions:
  - "a photo of {a baseColour} shirt"
  - "{a Pattern} shirt[ in {baseColour}]"
  - "{a for Pattern} {Pattern} shirt"
attributes:
  Pattern: {called: pattern, templates: ["{value} shirt"], values: {Paisley: paisley}}
  baseColour: {templates: ["{value} shirt"]}
  marks: {templates: ["{value}"]}
"""


@pytest.fixture
def prompts() -> Prompts:
    return Prompts.parse(WORDS, "words.yaml")


def brute(probability, right, products, precision, error) -> float | None:
    """The walk of certify, a prediction at a time, with other sums and scipy's binomial where sizes are whole."""
    worth_of = lambda some: len(some) ** 2 / sum(some.count(one) ** 2 for one in set(some))  # noqa: E731
    order = sorted(range(len(right)), key=lambda at: -probability[at])
    worths = [worth_of([products[at] for at in order[: n + 1]]) for n in range(len(order))]
    number = 1
    while math.ceil(math.log(error / (number + 1)) / math.log(precision)) * 1.5**number <= max(worths):
        number += 1
    starts = [math.ceil(math.log(error / number) / math.log(precision)) * 1.5**step for step in range(number)]
    purse, found = 0.0, None
    for n, worth in enumerate(worths):
        while starts and worth >= starts[0]:
            purse += error / number
            starts.pop(0)
        if n + 1 < len(order) and probability[order[n]] == probability[order[n + 1]]:
            continue
        share = sum(right[at] for at in order[: n + 1]) / (n + 1)
        if worth == int(worth) and abs(share * worth - round(share * worth)) < 1e-9:
            p = binom.sf(round(share * worth) - 1, int(worth), precision)
        else:
            p = chance(np.cumsum([right[at] for at in order[: n + 1]]), np.array(worths[: n + 1]), precision)[-1]
        if purse and p <= purse:
            found = probability[order[n]]
        elif purse:
            purse = 0.0
    return found


@given(st.integers(0, 10_000), st.integers(1, 160), st.sampled_from([0.6, 0.8, 0.95]), st.booleans(), st.booleans())
def test_thresholds_equal_a_slow_search(seed, predictions, precision, tied, clustered):
    rng = np.random.default_rng(seed)
    probability = rng.random(predictions).round(1 if tied else 9)
    right = rng.random(predictions) < 1 - 0.3 * (1 - probability)
    products = rng.integers(0, max(1, predictions // 2), predictions) if clustered else np.arange(predictions)
    found = certify(probability, right, products, precision=precision, confidence=0.9)
    wanted = None
    if effective(products).max() >= least(precision, 0.9):
        wanted = brute(probability.tolist(), right.tolist(), products.tolist(), precision, 0.1)
    assert found.threshold == wanted
    assert bool(found.reason) == (found.threshold is None)
    if found.threshold is not None:
        over = probability >= found.threshold
        assert (found.predictions, found.right) == (over.sum(), right[over].sum())


def test_the_least_that_shows_a_precision_by_hand():
    assert least(0.95, 0.9) == 45  # 0.95 ** 45 = 0.0994
    assert least(0.5, 0.875) == 3
    perfect = np.ones(45, bool)
    falling = np.linspace(1, 0.9, 45)
    assert certify(falling, perfect, np.arange(45)).threshold == pytest.approx(0.9)
    assert "worth 44 independent ones, and fewer than 45" in certify(falling[:44], perfect[:44], np.arange(44)).reason
    pairs = certify(falling, perfect, np.arange(45) // 2)
    assert pairs.threshold is None and pairs.effective == pytest.approx(45**2 / (22 * 4 + 1))
    wrong = ~perfect
    assert "no threshold shows 95% precision; 0 of its 45" in certify(falling, wrong, np.arange(45)).reason
    with pytest.raises(ValueError, match=r"precision is 1\.0"):
        certify(falling, perfect, np.arange(45), precision=1.0)


@pytest.mark.parametrize(("per_product", "shares"), [(1, None), (4, None), (1, (0.7, 0.2, 0.07, 0.03))])
def test_the_precision_holds_in_simulated_worlds(per_product, shares):
    """Temperature, prior and threshold fitted on a sample of 300 items; the true precision known from 40,000 others.

    Similarities overstate themselves, and the items of a product are the same picture with a little noise.
    """
    worlds, broken, used = 120, 0, 0
    for world in range(worlds):
        rng = np.random.default_rng((world, per_product))
        ease = rng.uniform(1.0, 8.0)

        def sample(products, rng=rng, ease=ease):
            truth = np.repeat(rng.choice(4, products, p=shares), per_product)
            noise = np.repeat(rng.normal(0, 1, (products, 4)), per_product, axis=0)
            signal = np.repeat(rng.exponential(ease, products), per_product)
            similarity = noise + 0.05 * rng.normal(0, 1, noise.shape)
            similarity[np.arange(len(truth)), truth] += signal
            return similarity / 10, truth, np.repeat(np.arange(products), per_product)

        similarity, truth, products = sample(300 // per_product)
        scale = fit_softmax(similarity, truth, log_shares(np.bincount(truth, minlength=4)))
        chances = softmax(similarity, scale)
        shown = certify(chances.max(axis=1), chances.argmax(axis=1) == truth, products, precision=0.9)
        if shown.threshold is not None:
            used += 1
            similarity, truth, _ = sample(40_000 // per_product)
            chances = softmax(similarity, scale)
            over = chances.max(axis=1) >= shown.threshold
            broken += (chances.argmax(axis=1) == truth)[over].mean() < 0.9
    assert used > worlds // 2
    assert broken <= binom.ppf(0.999, worlds, 0.1), f"{broken} of {worlds} worlds fall short of the precision"


def test_a_temperature_equals_brute_force(good, train, prompts):
    good = type(good)("noisy", blind=("checked",), picture_noise=0.7)  # so that no temperature is perfect
    fitted = fit(good, train, prompts, [Attribute("Pattern")], VectorCache(), progress=False).attributes["Pattern"]
    cache = VectorCache()
    sets = train.value_sets("Pattern")
    known = [row for row, values in enumerate(sets) if values]
    texts = cache.values(good, prompts, "Pattern", fitted.candidates.values)
    similarity = cache.pictures(good, train, progress=False)[known].astype(np.float64) @ texts.T
    truth = [fitted.candidates.values.index(next(iter(sets[row]))) for row in known]
    grid = np.geomspace(0.1, 1000, 4_000)
    counts = np.array([truth.count(place) for place in range(len(texts))])
    prior = np.log((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))
    assert fitted.scale.prior == pytest.approx(prior)
    chances = (plain_softmax(slope * similarity + prior, axis=1)[np.arange(len(truth)), truth] for slope in grid)
    losses = [-np.log(chance).mean() for chance in chances]
    assert fitted.scale.slope == pytest.approx(grid[np.argmin(losses)], rel=0.01)


def test_candidates_join_tune_the_file_and_what_says_not_applicable(prompts):
    candidates = candidates_of(Attribute("Pattern"), prompts, {"Solid": 3, "Striped": 5, "N/A": 2}, ["Dotted"])
    assert candidates.values == ("Striped", "Solid", "N/A", "Dotted", "Paisley")
    assert candidates.tune_items == (5, 3, 2, 0, 0)
    assert candidates.uncalibrated == ("Dotted", "Paisley")
    assert candidates.absent == ("N/A", "Not Applicable") and candidates.is_absent(2)
    truth = truth_of(
        candidates, [frozenset({"Not Applicable"}), frozenset(), frozenset({"Velvet"}), frozenset({"Solid"})]
    )
    assert truth.labelled.tolist() == [True, False, True, True]
    assert truth.has.argmax(axis=1).tolist() == [2, 0, 0, 1] and not truth.has[2].any()


def test_predictions_of_a_multi_attribute_by_hand():
    candidates = candidates_of(
        Attribute("marks", "multi", ";"), Prompts.parse(WORDS), {"dots": 4, "lines": 3, "stars": 2}, ["moons"]
    )
    candidates = candidates._replace(values=candidates.values, absent=())
    pictures = np.array([[0.9, 0.8, 0.1, 0.95, 0], [0.2, 0.3, 0.1, 0.9, 0]], np.float32)
    texts = np.eye(5, dtype=np.float32)[: len(candidates.values)]
    made = predict(pictures, texts, candidates, Scale(10.0, -5.0))
    assert made.rows.tolist() == [0, 0, 1]
    assert made.values.tolist() == [0, 1, 1]  # the fourth is likelier, but nobody in tune has it
    assert made.probability == pytest.approx([1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(2))])


def test_descriptions_state_what_is_confident_and_nothing_else(prompts):
    say = Describer(prompts)
    both = ("Pattern", "baseColour")
    assert say(dict.fromkeys(both, "") | {"Pattern": "Striped", "baseColour": "Red"}) == (
        "a striped shirt in red", "A striped shirt in red", both,
    )  # fmt: skip
    assert say({"baseColour": "Red"}) == ("a photo of a red shirt", "", ("baseColour",))
    assert say({"Pattern": "N/A", "baseColour": "Red"}).caption == "a photo of a red shirt"
    assert say({}) == ("", "", ())


def test_heaps_of_keywords_and_long_texts_are_never_said():
    words = """
captions:
  - "{Pattern} shirt, {baseColour} shirts, cheap shirt"
  - "{a Pattern} shirt[ in {baseColour}]"
  - "a shirt in {baseColour} LONG"
other_attributes: {templates: ["{value}"]}
"""
    long = " ".join(f"{one}{two}" for one in "bcdf" for two in "ghjklmnpqrst")
    say = Describer(Prompts.parse(words.replace("LONG", long)))
    assert say({"Pattern": "Striped", "baseColour": "Red"}).caption == "a striped shirt in red"
    only_long = say({"baseColour": "Red"})
    assert only_long.caption == f"a shirt in red {long}" and only_long.alt_text == ""


def _fitted(encoder, tune, prompts, **options) -> Thresholds:
    names = [Attribute("Pattern"), Attribute("baseColour")]
    return fit(encoder, tune, prompts, names, VectorCache(), split="train", progress=False, **options)


def _tagged(encoder, tune, catalogue, prompts, **options) -> tuple[Tagged, Thresholds]:
    thresholds = _fitted(encoder, tune, prompts, **options)
    return tag(encoder, catalogue, prompts, thresholds, VectorCache(), progress=False), thresholds


def test_tags_of_squares_are_right_where_they_are_sure(good, train, validation, prompts, tmp_path):
    tagged, thresholds = _tagged(good, train, validation, prompts, precision=0.8)
    column = tagged.columns["baseColour"]
    sure = [row for row, state in enumerate(column.states) if state == "sure"]
    truth = validation.values("baseColour")
    assert len(sure) > 20
    assert np.mean([column.values[row] == truth[row] for row in sure]) >= 0.8
    one = thresholds.attributes["baseColour"]
    for row in range(len(validation)):
        assert (column.probability[row] >= (one.shown.threshold or 2)) == (column.states[row] == "sure")
    assert uncertain(thresholds)["Pattern"][-1] == "never sure, for nobody in tune has them: N/A, Paisley"

    for form in FORMS:
        tagged.write(tmp_path / f"tags{form}")
    rows = pyarrow.parquet.read_table(tmp_path / "tags.parquet").to_pylist()
    assert [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()] == rows
    with (tmp_path / "tags.csv").open() as file:
        assert [row["baseColour"] for row in csv.DictReader(file)] == [row["baseColour"] for row in rows]
    assert list(rows[0]) == [
        "id", "product", "Pattern", "Pattern probability", "Pattern state",
        "baseColour", "baseColour probability", "baseColour state", "caption", "alt_text", "fault",
    ]  # fmt: skip
    for row in rows:
        assert ("red" in row["caption"]) == (row["baseColour"] == "Red" and row["baseColour state"] == "sure")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tags.csv", "tags.jsonl", "tags.parquet"]
    with pytest.raises(ConfigError, match=r"tags.xlsx: tags are written as .parquet, .csv, .jsonl"):
        tagged.write(tmp_path / "tags.xlsx")


def test_thresholds_come_back_and_fit_nothing_else(good, poor, train, validation, prompts, tmp_path):
    thresholds = _fitted(good, train, prompts, precision=0.8)
    path = tmp_path / "thresholds.json"
    thresholds.save(path)
    assert Thresholds.load(path) == thresholds
    assert json.loads(path.read_text())["attributes"]["baseColour"]["threshold"] > 0
    for encoder, catalogue, words, error, said in (
        (poor, validation, prompts, SpaceError, "fitted for good .*, not for poor"),
        (good, validation, Prompts.parse(WORDS + "# more\n"), ConfigError, "words of words.yaml"),
        (good, train, prompts, ConfigError, "fitted on split 'train' of .*, so 'train' cannot be tagged"),
    ):
        with pytest.raises(error, match=said):
            tag(encoder, catalogue, words, thresholds, VectorCache(), progress=False)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="KeyError: 'schema_version'"):
        Thresholds.load(path)
    path.write_text('{"schema_version": 9}')
    with pytest.raises(ConfigError, match="schema version 9, not 3"):
        Thresholds.load(path)


def test_too_little_to_go_by_is_unsure_and_said(good, train, validation, prompts):
    few = train.subset(range(12))
    tagged, thresholds = _tagged(good, few, validation, prompts)
    assert set(tagged.columns["Pattern"].states) == {"unsure"}
    assert "cannot show 95% precision" in uncertain(thresholds)["Pattern"][0]
    assert tagged.captions == [""] * len(validation)
    blank = train.subset([row for row, value in enumerate(train.values("Pattern")) if value is None])
    nothing = fit(good, blank, prompts, [Attribute("Pattern")], VectorCache(), progress=False)
    assert uncertain(nothing)["Pattern"][0] == "always unsure: not one item of tune has a known value"


def test_not_applicable_is_predicted_when_tune_has_it(factory_shop, good, prompts):
    tune, catalogue = (Catalogue.load(factory_shop, split, attributes=["Pattern"]) for split in ("train", "validation"))
    thresholds = fit(good, tune, prompts, [Attribute("Pattern")], VectorCache(), precision=0.6, progress=False)
    candidates = thresholds.attributes["Pattern"].candidates
    assert candidates.tune_items[candidates.values.index("N/A")] == tune.counts("Pattern")["N/A"]
    # The text of "none" is far from every picture but a plain one; here the nearest decides, not the test.
    vectors = VectorCache().values(good, prompts, "Pattern", candidates.values)
    pictures = np.repeat(vectors[[candidates.values.index("N/A")]], 3, axis=0)
    made = predict(pictures, vectors, candidates, Scale(500.0))
    assert [candidates.is_absent(int(place)) for place in made.values] == [True] * 3
    tagged = tag(good, catalogue, prompts, thresholds, VectorCache(), progress=False)
    assert set(tagged.columns["Pattern"].states) <= {"sure", "unsure", "not applicable"}


@pytest.fixture
def factory_shop(tmp_path) -> Path:
    """Striped and solid squares; of every third item the pattern does not apply."""

    from data_factory import write_table

    patterns = ["Striped", "Solid", "N/A"]
    for split, items in (("train", 60), ("validation", 9)):
        rows = [
            {"file_name": f"{split}{i}.png", "Pattern": patterns[i % 3], "baseColour": "Red", "product": f"{split}{i}"}
            for i in range(items)
        ]
        write_table(tmp_path / split, rows)
    return tmp_path


def test_a_broken_picture_is_a_row_with_its_fault(factory_shop, good, prompts):
    (factory_shop / "validation" / "validation4.png").write_bytes(b"no picture")
    (factory_shop / "train" / "train3.png").write_bytes(b"nor this")
    tune, catalogue = (Catalogue.load(factory_shop, split, attributes=["Pattern"]) for split in ("train", "validation"))
    thresholds = fit(good, tune, prompts, [Attribute("Pattern")], VectorCache(), precision=0.6, progress=False)
    assert thresholds.fitted_on.items == 59
    tagged = tag(good, catalogue, prompts, thresholds, VectorCache(), progress=False)
    rows = tagged.table().to_pylist()
    assert len(rows) == 9 and "validation4.png" in rows[4]["fault"]
    assert {rows[4][name] for name in ("Pattern", "Pattern probability", "Pattern state")} == {None}
    assert rows[5]["fault"] is None and rows[5]["Pattern state"] is not None
    results = report({"model": tagged}, {"model": thresholds})
    assert select(results.rows, task="tagging", metric="automatic_cells")[0].n == 8
    assert len(results.config["broken"]) == 1


def test_the_report_by_hand(good, train, validation, prompts):
    tagged, thresholds = _tagged(good, train, validation, prompts, precision=0.8)
    results = report({"model": tagged}, {"model": thresholds}, split="here")
    column, truth = tagged.columns["Pattern"], validation.values("Pattern")
    known = [row for row, value in enumerate(truth) if value is not None]
    done = [column.states[row] == "sure" for row in known]
    right = [column.values[row] == truth[row] for row in known]
    share = select(results.rows, attribute="Pattern", metric="automatic_cells")[0]
    assert (share.n, share.split) == (len(known), "here")
    assert share.mean == pytest.approx(np.mean(done))
    precise = select(results.rows, attribute="Pattern", metric="precision")[0]
    assert precise.mean == pytest.approx(np.mean([hit for hit, sure in zip(right, done, strict=True) if sure]))
    curve = select(results.rows, attribute="Pattern", metric="precision_at_coverage")
    assert [row.k for row in curve] == [5, *range(10, 101, 10)]
    assert curve[-1].mean == pytest.approx(np.mean(right)) and curve[-1].n == len(known)
    half = sorted(range(len(known)), key=lambda at: -column.probability[known[at]])[: math.ceil(len(known) / 2)]
    assert curve[5].mean == pytest.approx(np.mean([right[at] for at in half]))
    items = select(results.rows, task=HEADLINE, metric="automatic_items")[0]
    both = [
        all(tagged.columns[name].states[row] == "sure" for name in ("Pattern", "baseColour")
            if validation.values(name)[row] is not None)
        for row in range(len(validation))
    ]  # fmt: skip
    assert items.mean == pytest.approx(np.mean(both))
    assert json.loads(results.to_json())["config"]["systems"]["model"]["fitted_on"]["split"] == "train"
    blank = Catalogue.load(validation.source, "validation").subset([])
    empty = Tagged(blank, {name: tagged.columns[name] for name in ()}, [], [], {}, [], {})
    with pytest.raises(ValueError, match="no item of 'validation' has a known value"):
        report({"model": empty}, {"model": thresholds})


def test_the_saved_queue_is_paired_and_printed(good, train, validation, prompts):
    """The worse model knows no pattern but stripes, so it is sure of less."""
    poor = type(good)("worse", blind=("solid", "checked", "green", "black"))
    made = {
        system: _tagged(encoder, train, validation, prompts, precision=0.8)
        for system, encoder in (("adapted", good), ("base", poor))
    }
    tagged = {system: one for system, (one, _) in made.items()}
    results = report(tagged, {system: thresholds for system, (_, thresholds) in made.items()})
    saved = next(row for row in results.rows if row.metric == "automatic_cells" and row.paired)
    base = select(results.rows, task=HEADLINE, metric="automatic_cells", system="base")[0]
    assert saved.task == HEADLINE and saved.delta == pytest.approx(saved.mean - base.mean)
    assert saved.delta is not None and saved.delta_low is not None and saved.p is not None
    assert 0 < saved.delta_low < saved.delta and saved.p < 0.05
    shown = table(results)
    assert [column.header for column in shown.columns] == ["what", "cells", "base", "adapted", "saved", "right"]
    assert list(shown.columns[0].cells) == ["all cells", "whole items", "Pattern", "baseColour"]
