"""What a release's own files say, with the place that every figure comes from."""

import json
import shutil
from pathlib import Path

import pytest
from runs_factory import write_run

from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.evidence import release as evidence
from clipadapt.deploy.evidence.packet import Section
from clipadapt.deploy.releases import Releases
from clipadapt.errors import StoreError
from clipadapt.evaluation.gate import Gate
from clipadapt.runs import Run
from clipadapt.statistics.rows import Row


@pytest.fixture(scope="module")
def released(first: Run, base: Path, gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second of two releases."""
    root = tmp_path_factory.mktemp("evidence")
    releases = Releases(root / "releases")
    releases.promote(create(releases, gather(first, Gate.load(gate))).version)
    second = write_run(root / "second", base, 2)
    return create(releases, gather(second, Gate.load(gate)), note="wider sleeves").folder


def said(section: Section) -> dict[str, str]:
    return {fact.what: fact.says for fact in section.facts}


def test_its_lineage_and_how_to_undo_it(released):
    info = evidence.checked(released)
    about = said(evidence.lineage(released, info))
    assert about["follows release"] == "000001" and about["note"] == "wider sleeves"
    assert about["image space"] == info.image_space and "part: index" in about
    assert "returns to 000001" in said(evidence.rollback(released, info))["undo"]
    before = released.parent / "000001"
    assert "no earlier release" in evidence.rollback(before, evidence.checked(before)).missing[0]


def test_what_changed_is_what_differs_between_the_two_configs(released):
    info = evidence.checked(released)
    changed = said(evidence.changes(released, info))
    assert set(changed) == {"prompts"}, "name and folder always differ, and nothing else does here"
    before = released.parent / "000001"
    assert "nothing was in use" in evidence.changes(before, evidence.checked(before)).missing[0]


def test_what_it_was_trained_on(released):
    section = evidence.trained_on(released)
    about = said(section)
    assert about["source"] == "shop" and about["attributes"] == "Pattern, baseColour" and "torch" in about
    assert {fact.source for fact in section.facts} >= {"config.yaml, data.source", "environment.json, the last start"}


def test_every_figure_is_the_one_at_its_place(released):
    info, results = evidence.checked(released), evidence.results(released)
    section = evidence.evaluation(results, info)
    document = json.loads((released / "report" / "results.json").read_text())
    (headline,) = [fact for fact in section.facts if fact.what.startswith("headline")]
    number = int(headline.source.rpartition(" ")[2])
    assert document["rows"][number]["system"] == "adapted" and document["rows"][number]["task"] == "headline"
    assert "60.0% [50.0, 70.0]" in headline.says and "+10.0 points [+2.0, +20.0]" in headline.says
    assert said(section)["rows that got worse"] == "0 of 1" and "eval/retention.yaml" in section.missing[0]


def test_what_got_worse_stands_in_the_packet(released):
    info, results = evidence.checked(released), evidence.results(released)
    about = ("recognition", "Pattern", "Striped", "all", "balanced_accuracy", None, "adapted", "validation")
    worse = Row(*about, 60, 30, 0.3, 0.2, 0.4, "base", -0.2, -0.3, -0.1, 0.001, 0.05)
    section = evidence.evaluation(type(results)(results.config, (*results.rows, worse)), info)
    assert said(section)["rows that got worse"] == "1 of 2"
    (fact,) = [fact for fact in section.facts if fact.what.startswith("got worse: ")]
    assert "Pattern Striped" in fact.what and "−20.0 points" in fact.says and fact.source.endswith("row 2")


def test_gates_index_and_files(released):
    info = evidence.checked(released)
    (fact,) = evidence.gates(info).facts
    assert fact.what == "shop: passed" and "headline" in fact.says
    assert said(evidence.index(released))["kind"].startswith("Flat, ")
    manifest = json.loads((released / "manifest.json").read_bytes())["files"]
    files = said(evidence.digests(released))
    assert set(files) == set(manifest)
    assert all(manifest[name]["sha256"] in says for name, says in files.items())


def test_a_changed_file_is_no_evidence(released, tmp_path):
    copy = Path(shutil.copytree(released, tmp_path / "changed"))
    (copy / "report" / "report.md").write_text("# repaid\n")
    with pytest.raises(StoreError, match=r"report\.md has another sha256"):
        evidence.checked(copy)
