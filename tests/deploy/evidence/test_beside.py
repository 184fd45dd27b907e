"""What was measured beside a release, and what was not."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_factory import write_table
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.policy import Policy
from clipadapt.deploy.evidence import beside, published
from clipadapt.deploy.evidence.packet import Fact, Packet, Section
from clipadapt.deploy.evidence.report import as_json, as_page
from clipadapt.errors import UsageError
from clipadapt.evaluation.gate import Condition, Outcome
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

POLICY = Policy.model_validate(
    {"column": "licence", "licences": {"CC0": ["train", "index", "show"], "Mine": ["train"]}}
)


def write_index(folder: Path, licences: list[str] | None) -> Path:
    """A release's folder with an index alone."""
    points = np.eye(4, dtype=np.float32)
    columns = {"id": [str(row) for row in range(4)]} | ({"licence": licences} if licences is not None else {})
    Index.build(Vectors(points, Items.of(pa.table(columns)), "image-x", "run:x"), folder / "index", factory="Flat")
    return folder


def said(section: Section) -> dict[str, str]:
    return {fact.what: fact.says for fact in section.facts}


def test_a_licence_that_may_not_be_indexed_is_found_in_the_index(tmp_path):
    clean = beside.licences(None, POLICY, write_index(tmp_path / "clean", ["CC0", "cc0", "CC0", "CC0"]))
    assert "all may be indexed" in said(clean)["licences in the index"] and not any(fact.bad for fact in clean.facts)
    for planted in ("Mine", "Unknown-1.0", ""):
        section = beside.licences(None, POLICY, write_index(tmp_path / f"p{planted}", ["CC0", "CC0", planted, "CC0"]))
        (bad,) = [fact for fact in section.facts if fact.bad]
        assert "1 of 4 items" in bad.says and (planted or "none named") in bad.says
        assert Packet("1", "x", (section,), ()).failed == (f"{bad.what}: {bad.says}",)


def test_an_index_that_keeps_no_licences_was_not_checked(tmp_path):
    section = beside.licences(None, POLICY, write_index(tmp_path, None))
    assert section.facts == () and "was not checked" in section.missing[-1] and "--source" in section.missing[0]
    assert "no policy" in beside.licences(None, None, tmp_path).missing[0]


def test_the_licences_of_a_catalogue_are_counted(tmp_path):
    folder = tmp_path / "shop" / "train"
    folder.mkdir(parents=True)
    licences = ["CC0", "CC0", "Mine", ""]
    for number in range(4):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    rows = [{"file_name": f"{n}.png", "Pattern": "Solid", "licence": name} for n, name in enumerate(licences)]
    write_table(folder, rows)
    catalogue = Catalogue.load(str(tmp_path / "shop"), "train", attributes=["Pattern"])
    about = said(beside.licences(catalogue, POLICY, tmp_path))
    assert about["CC0"] == "2 items; may be used to train, index, show"
    assert about["Mine"] == "1 items; may be used to train"
    assert about["none named"].endswith("to nothing") and about["may be used to index"] == "2 of 4 items"


def test_files_of_other_commands(tmp_path):
    drifted = [
        {"of": "items", "segment": "all", "window": str(n), "effect": n / 100, "p_corrected": 0.01} for n in range(7)
    ]
    rate = {"of": "tags", "attribute": "Fit", "value": "Slim", "window": "all", "share": 0.3, "reference_share": 0.1}
    document = {"alarms": 1, "sentences": ["items: 2 of 7 drifted"], "drifts": drifted, "level": 0.05}
    file = tmp_path / "drift.json"
    file.write_text(json.dumps(document | {"rates": [rate | {"p_corrected": 0.001}]}))
    section = beside.drift(file)
    assert said(section)["result"] == "items: 2 of 7 drifted" and section.facts[0].bad
    assert section.facts[1].what == "items: all, 6" and len(section.facts) == 7, "the five that drifted most"
    assert said(section)["tags: Fit: Slim, all"] == "10.0% -> 30.0%, p 0.001 corrected"
    gate = [{"passed": False, "reason": "too low"}]
    (tmp_path / "shadow.json").write_text(json.dumps({"candidate": "000005", "sentence": "So.", "gate": gate}))
    assert said(beside.shadow(tmp_path / "shadow.json", "000005")) == {"verdict": "So.", "does not hold": "too low"}
    up = {"candidate": "000005", "sentence": "Up.", "verdict": "better"}
    (tmp_path / "experiment.json").write_text(json.dumps(up))
    assert said(beside.experiment(tmp_path / "experiment.json", "000005")) == {"better": "Up."}
    for read, name in ((beside.shadow, "shadow.json"), (beside.experiment, "experiment.json")):
        with pytest.raises(UsageError, match="is about 000005, not about 000006"):
            read(tmp_path / name, "000006")
    with pytest.raises(UsageError, match="is no evidence"):
        beside.drift(tmp_path / "shadow.json")


def test_what_is_missing_is_named_with_its_command():
    sections = (beside.label_audit(None), beside.drift(None), beside.shadow(None, "1"), beside.experiment(None, "1"))
    missing = Packet("1", "x", (*sections, published.prepared(None), published.captions(None, None, "s")), ()).missing
    assert [line.partition(":")[0] for line in missing] == [
        "Label audit", "Drift", "Shadow", "Experiment", "Prepared pictures", "Captions and alt texts",
    ]  # fmt: skip
    assert all("clipadapt " in line for line in missing)


def test_the_packet_says_first_why_it_does_not_pass():
    condition = Condition(row="recognition", metric="recall", bound="delta_low", above=0)
    outcome = Outcome(condition, False, "recognition <recall>: −0.1")
    packet = Packet("000005", "shop", (beside.drift(None),), (outcome,))
    page = as_page(packet)
    assert page.index("Does not pass") < page.index("Not measured") < page.index("Sign-off")
    assert "&lt;recall&gt;" in page and "<recall>" not in page
    document = json.loads(as_json(packet))
    assert document["passed"] is False and document["failed"] == [outcome.reason]
    assert len(document["not_measured"]) == 1


def test_no_folder_of_any_machine_is_in_a_packet():
    condition = Condition(row="recognition", metric="recall", bound="delta_low", above=0)
    secret = "/home/ann/secret/shop"
    section = Section("Trained", (Fact("source", secret, f"{secret}/config.yaml, data.source"),), (f"no {secret}",))
    packet = Packet("000005", "shop", (section,), (Outcome(condition, True, f"holds on {secret}"),))
    for text in (as_json(packet), as_page(packet)):
        assert "secret" not in text and "shop" in text and "data.source" in text
