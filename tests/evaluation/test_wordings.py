"""Values called as the prompts file calls them and in held-out words: rows, headlines, gates and reports of both."""

import html
import json
from pathlib import Path

import numpy as np
import pytest

from clipadapt.errors import PromptError
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.gate import Condition, Gate, judge
from clipadapt.evaluation.report.wordings import wording_lines
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.suite import Suite
from clipadapt.prompts import Prompts
from clipadapt.recognition.values import value_vectors
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import corrected
from clipadapt.statistics.rows import HEADLINE, about, select
from clipadapt.towers.value_vectors import Learned, ValueVectors

FILE = """
attributes:
  Pattern:
    templates: ["a {value} shirt", {text: "wearing {value}", held_out: true}]
    values: {Striped: [ribbed], Checked: [plaid], Solid: [solid]}
  baseColour: {templates: ["a {value} shirt"]}
"""
"""The encoder knows "striped" and "checked" and not "ribbed" and "plaid", so the file's own wording does worse here."""
SUITE = Suite.model_validate(
    {
        "name": "x",
        "statistics": {"draws": 100, "permutations": 100},
        "headline": ["Pattern"],
        "tasks": [
            {"task": "recognition", "segments": ["baseColour"]},
            {"task": "text_to_image", "by": "value", "k": [5]},
            {"task": "text_to_image", "by": "pair", "k": [5]},
            {"task": "image_to_image", "by": "attributes", "k": [5]},
        ],
    }
)


@pytest.fixture(scope="module")
def counted():
    return {"Pattern": {"Striped": 3, "Checked": 200, "Solid": 200}, "baseColour": {}}


@pytest.fixture
def results(validation, good, poor, counted) -> Results:
    prompts = Prompts.parse(FILE)
    return evaluate(good, validation, prompts, SUITE, against=poor, train_counts=counted, progress=False)


def test_every_figure_over_values_has_both_wordings_and_the_held_out_one_is_quoted(results):
    by_words = {wording: select(results.rows, wording=wording) for wording in ("held_out", "file", None)}
    assert {row.task for row in by_words[None]} == {"image_to_image"}
    in_file = {(row.system, about(row)) for row in by_words["file"]}
    over_values = {
        (row.system, about(row)) for row in by_words["held_out"] if row.value is None and row.segment is None
    }
    assert in_file == over_values and len(over_values) < len(by_words["held_out"]), "single values in one alone"
    assert {"headline", "recognition", "text_to_image", "text_to_image_pair"} == {row.task for row in by_words["file"]}
    found = results.headline("balanced_accuracy")
    (file,) = select(results.rows, task=HEADLINE, metric="balanced_accuracy", wording="file", system="adapted")
    assert (found.wording, found.mean) == ("held_out", 1.0) and file.mean < 0.8
    (rare,) = select(results.rows, task=HEADLINE, metric="rare_balanced_accuracy", wording="file", system="adapted")
    assert rare.mean < results.headline("rare_balanced_accuracy").mean == 1.0
    assert {one.attribute for one in results.details.confusions} == {"Pattern", "baseColour"}
    assert len(results.details.confusions) == 2 and len(results.details.reliability) == 4, "of the quoted wording alone"
    assert {one.text for one in results.details.examples if one.query == "Striped"} == {"wearing striped"}


def test_texts_and_value_vectors_are_measured_apart_where_a_model_mixes_them(validation, good, poor, counted):
    values = ("Checked", "Solid", "Striped")
    prompts = Prompts.parse(FILE)
    wrong = value_vectors(prompts, "Pattern", [*values[1:], values[0]], VectorCache().encode(good))
    good.value_vectors = ValueVectors({"Pattern": Learned(values, wrong.astype(np.float32), 0.1)}, good.image_space)
    mixed = evaluate(good, validation, prompts, SUITE, against=poor, train_counts=counted, progress=False)
    means = {
        row.wording: row.mean
        for row in select(mixed.rows, task="recognition", attribute="Pattern", metric="balanced_accuracy", bin="all")
        if row.system == "adapted" and row.segment is None
    }
    assert means["held_out"] == means["texts"] == 1.0 and means["vectors"] < 0.5
    assert mixed.headline("balanced_accuracy").mean > 0.9, "vectors alone are not quoted"
    good.value_vectors = ValueVectors({"Pattern": Learned(values, wrong.astype(np.float32), 1.0)}, good.image_space)
    vectors = evaluate(good, validation, prompts, SUITE, against=poor, train_counts=counted, progress=False)
    assert vectors.headline("balanced_accuracy").mean < 0.9


def test_p_is_corrected_within_a_wording(row):
    same = {"against": "base", "delta": 0.1, "p": 0.01}
    rows = [row(attribute=name, wording=wording, **same) for name in "ab" for wording in ("held_out", "file")]
    assert [one.p for one in corrected(rows)] == [0.02] * 4, "two attributes, not four rows"


def test_results_json_keeps_the_wording_and_reads_files_without_one(results, tmp_path: Path):
    folder = results.save(tmp_path / "report")
    assert Results.load(folder).rows == results.rows
    document = json.loads((folder / "results.json").read_text())
    assert {row.get("wording", "none") for row in document["rows"]} == {"held_out", "file", "none"}
    document["rows"] = [
        {key: value for key, value in row.items() if key != "wording"}
        for row in document["rows"]
        if row.get("wording") != "file"
    ]
    (folder / "results.json").write_text(json.dumps(document))
    old = Results.load(folder)
    assert {row.wording for row in old.rows} == {None}
    assert old.headline("balanced_accuracy").mean == 1.0
    assert "Wordings" not in (old.save(tmp_path / "again") / "report.html").read_text()


def test_a_gate_reads_the_quoted_wording_unless_it_names_one(results):
    def condition(**more) -> Condition:
        return Condition(row="headline", metric="balanced_accuracy", bound="mean", above=0.9, **more)

    quoted, file = judge(Gate(conditions=(condition(), condition(wording="file"))), results.rows)
    assert quoted.passed and "in held-out wording: 1.0000" in quoted.reason
    assert not file.passed and "in the file's wording" in file.reason
    old = [row for row in results.rows if row.wording is None]
    assert "no such row" in judge(Gate(conditions=(condition(wording="file"),)), old)[0].reason


def test_reports_show_both_with_the_gap(results, tmp_path: Path):
    folder = results.save(tmp_path / "report")
    lines = wording_lines(results.rows, ["base", "adapted"])
    assert [line.subject for line in lines][:2] == ["Balanced accuracy", "Balanced accuracy of rare values"]
    assert "Pattern: search by text, mAP" in {line.subject for line in lines}
    base, adapted = lines[0].pairs
    assert (base.held_out.system, adapted.held_out.mean) == ("base", 1.0)
    assert adapted.gap == pytest.approx(adapted.file.mean - 1) and adapted.gap < -0.2
    text, page = ((folder / name).read_text() for name in ("report.md", "report.html"))
    page = html.unescape(page)
    gap = f"−{-100 * adapted.gap:.1f}"
    assert "| Balanced accuracy | " in text and f"| 100.0 | {100 * adapted.file.mean:.1f} | {gap} |" in text
    assert text.count("## Wordings") == 1 and 'id="wordings"' in page and f'<td class="num">{gap}</td>' in page
    assert f"in the prompts file's own wording it is {100 * adapted.file.mean:.1f}%." in page
    assert f'in the file\'s wording <span class="num">{100 * adapted.file.mean:.1f}</span>' in page
    assert "recognition, in the file's wording (" in page


def test_a_file_that_leaves_nothing_to_train_with_is_refused_before_anything_is_encoded(validation, good):
    bad = FILE.replace("[ribbed]", "[{text: ribbed, held_out: true}]").replace("Solid: [solid]", "Ribbed: [ribbed]")
    with pytest.raises(PromptError, match="every name of 'Ribbed' is or contains one that is held out"):
        evaluate(good, validation, Prompts.parse(bad), SUITE, progress=False)
    assert good.encoded == 0


def test_held_out_texts_are_encoded_once_and_few(validation, good, monkeypatch):
    encoder, texts = good, []
    encode = encoder.encode_texts
    monkeypatch.setattr(encoder, "encode_texts", lambda some: (texts.extend(some), encode(some))[1])
    evaluate(encoder, validation, Prompts.parse(FILE), SUITE, progress=False)
    assert len(texts) == len(set(texts))
    values = {text.split()[-1] for text in texts if text.startswith("wearing")}
    assert values == {"striped", "checked", "solid"}
