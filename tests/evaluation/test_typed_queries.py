"""Queries as people type them as a suite: what they are made of, what they show, and gates that name their figures."""

import numpy as np
import pyarrow as pa
import pytest
from data_factory import write_catalogue
from squares import ATTRIBUTES

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks.typed_cases import Labels, cases, misspelt
from clipadapt.search.items import Items
from clipadapt.statistics.rows import Row, select


def suite(**task) -> Suite:
    return Suite.model_validate(
        {"name": "queries", "statistics": {"draws": 100, "permutations": 100}, "tasks": [{"task": "queries", **task}]}
    )


def test_cases_ask_for_what_labels_say_and_leave_unknown_items_out() -> None:
    kinds, colours = ["shirt"] * 30 + ["skirt"] * 10, ["red", "blue"] * 19 + ["", ""]
    prices = [float(row) for row in range(40)]
    items = Items.of(pa.table({"id": [str(row) for row in range(40)], "price": pa.array(prices)}))
    labels = Labels({"kind": [frozenset([kind]) for kind in kinds],
                     "colour": [frozenset([one] if one else []) for one in colours]})  # fmt: skip
    made = {(case.kind, case.texts[0]): case for case in cases(labels, items, "kind", lambda _, value: value, 40)}
    negation = made["negation", "shirt, not red"]
    assert negation.gallery.sum() == 38
    assert negation.relevant.tolist() == [row < 30 and row % 2 == 1 for row in range(40)]
    assert negation.violating.sum() == 19
    assert negation.texts[-1] == "shirt, not red".replace("shirt", misspelt("shirt"))
    assert made["alternatives", "red or blue shirt"].relevant.sum() == 30
    under = made["numbers", "shirt price under 7"]
    assert np.flatnonzero(under.relevant).tolist() == list(range(7))
    assert under.gallery.all()
    assert ("negation", "skirt, not red") not in made  # fewer than ten skirts are known not to be red
    assert (misspelt("shirt"), misspelt("red")) == ("sihrt", "red")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Enough items of each colour and pattern."""
    folder = write_catalogue(tmp_path_factory.mktemp("larger"), items=540)
    return Catalogue.load(folder, "validation", attributes=ATTRIBUTES)


def test_a_suite_measures_them_beside_plain_vectors_and_filters_and_gates_name_them(larger, good, words, tmp_path):
    asked = suite(head="baseColour", known=[1.0, 0.5], most=6)
    measured = evaluate(good, larger, words, asked, out=tmp_path, progress=False)

    def row(task: str, metric: str, system: str = "model") -> Row:
        (one,) = select(measured.rows, task=task, metric=metric, system=system)
        return one

    negation = row("queries:negation", "violations")
    assert negation.against == "plain vectors"
    assert negation.mean < 0.05 < row("queries:negation", "violations", "plain vectors").mean
    assert negation.verdict() == "better"
    two = row("queries:two attributes", "precision")
    assert two.low is not None
    assert two.low <= two.mean <= 1.0
    assert two.mean >= row("queries:two attributes", "precision", "plain vectors").mean
    assert row("queries_filtered:two attributes", "precision").against == "hard filters"
    half = row("queries_filtered:two attributes@known=0.5", "precision", "hard filters")
    assert half.mean < row("queries_filtered:two attributes", "precision", "hard filters").mean
    assert 0.0 <= row("queries:the same but", "kept").mean <= 1.0
    assert row("queries:the same but", "changed").mean >= row("queries:the same but", "changed", "plain vectors").mean
    gate = {"row": "queries:negation", "metric": "violations", "k": 10, "bound": "delta_high", "below": 0}
    (outcome,) = judge(Gate.model_validate({"conditions": [gate]}), measured.rows)
    assert outcome.passed, outcome.reason
    assert any("no query weights" in note for note in measured.details.notes)
    assert (tmp_path / "report.html").is_file()


def test_a_head_that_is_no_column_and_shares_that_are_none_are_refused(validation, good, words) -> None:
    with pytest.raises(ConfigError, match="no column 'colours'"):
        evaluate(good, validation, words, suite(head="colours"), progress=False)
    with pytest.raises(ConfigError, match="shares are above 0"):
        evaluate(good, validation, words, suite(known=[0.0]), progress=False)
