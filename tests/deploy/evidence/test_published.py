"""Captions with a person's marks, and prepared pictures, in a packet."""

import csv
import json
from pathlib import Path

import pytest

from clipadapt.audit.estimate import Estimate
from clipadapt.deploy.evidence.published import captions, prepared
from clipadapt.errors import UsageError


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    folder = tmp_path / "gallery"
    folder.mkdir()
    record = {
        "model": {"name": "run:a", "image_space": "s"},
        "items": 40,
        "left_out": {"unsure": 60},
        "precision": 0.95,
    }
    (folder / "gallery.json").write_text(json.dumps(record))
    lines = [
        {"id": f"i{n}", "product": f"p{n // 2}", "caption": f"a bag, no. {n}", "alt_text": f"A bag {n}",
         "states": {"Pattern": "Solid"} if n % 2 else {"Pattern": "Solid", "Fit": "Slim"}}
        for n in range(40)
    ]  # fmt: skip
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def marked(gallery: Path, marks: list[str], **changed: str) -> Path:
    file = gallery.parent / "marked.csv"
    lines = [json.loads(line) for line in (gallery / "captions.jsonl").read_text().splitlines()]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["id", "product", "caption", "alt_text", "right"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(line | changed | {"right": mark} for line, mark in zip(lines, marks, strict=False))
    return file


def test_a_sample_that_a_person_marked_has_an_interval_by_product(gallery):
    section = captions(gallery, marked(gallery, ["yes"] * 15 + ["No", " NO", "", "y", "1"]), "s")
    said = {fact.what: fact.says for fact in section.facts}
    assert said["items with a caption and an alt text"] == "40; 60 left out: unsure"
    assert said["precision that their values were shown to have"].startswith("95%")
    assert said["right"].startswith("89% [") and "19 texts, of 10 products" in said["right"]
    low, high = said["right"].partition("[")[2].partition("]")[0].split(", ")
    assert 40 <= int(low) < 89 < int(high) <= 100
    assert said["i0"] == "“A bag 0”" and sum(fact.source == "captions.jsonl" for fact in section.facts) == 5
    assert len(section.missing) == 1 and section.missing[0].startswith("how many labels of Fit, Pattern are wrong")
    assert all(fact.source for fact in section.facts)


def test_the_audit_of_labels_stands_beside_the_precision_that_rests_on_them(gallery, tmp_path):
    row = dict.fromkeys(Estimate._fields) | {"attribute": "Pattern", "error": 0.08, "low": 0.05, "high": 0.12}
    other = row | {"attribute": "Neck"}
    file = tmp_path / "label_error.json"
    file.write_text(json.dumps({"fingerprint": "f", "rows": [row, row | {"value": "Solid"}, other]}))
    section = captions(gallery, marked(gallery, ["yes"] * 6), "s", file)
    said = {fact.what: (fact.says, fact.source) for fact in section.facts if fact.what.startswith("wrong")}
    assert said == {
        "wrong labels, Pattern, among those that precision was shown on": (
            "8.0% [5.0, 12.0]", "label_error.json, row 0",
        )
    }  # fmt: skip
    assert section.missing == ("label_error.json says nothing of labels of Fit; audit them, too",)


def test_without_marks_that_is_named(gallery):
    section = captions(gallery, None, "s")
    assert len(section.missing) == 2 and "gallery/sample.csv" in section.missing[1]
    assert "clipadapt captions" in captions(None, None, "s").missing[0]


def test_what_is_no_evidence_is_refused(gallery, tmp_path):
    with pytest.raises(UsageError, match="another model"):
        captions(gallery, None, "other")
    with pytest.raises(UsageError, match="name their gallery"):
        captions(None, gallery, "s")
    with pytest.raises(UsageError, match=r"line 2: right is 'perhaps'; write yes or no"):
        captions(gallery, marked(gallery, ["perhaps"]), "s")
    with pytest.raises(UsageError, match="line 2: marks a text that is not in the gallery"):
        captions(gallery, marked(gallery, ["yes"], caption="another"), "s")
    with pytest.raises(UsageError, match="0 text"):
        captions(gallery, marked(gallery, []), "s")
    with pytest.raises(UsageError, match="cannot be read"):
        captions(gallery, tmp_path / "nowhere.csv", "s")
    with pytest.raises(UsageError, match="is no evidence"):
        captions(tmp_path, None, "s")
    (tmp_path / "odd.json").write_text('{"items": 1}')
    with pytest.raises(UsageError, match="no broken, psnr"):
        prepared(tmp_path / "odd.json")


def test_prepared_pictures_beside_their_originals(tmp_path):
    figures = {"items": 1200, "broken": 3, "psnr": None, "ssim": 1.0, "crop_psnr": 41.23, "crop_ssim": 0.98765}
    (tmp_path / "quality.json").write_text(json.dumps(figures))
    said = [fact.says for fact in prepared(tmp_path / "quality.json").facts]
    assert said == ["1,200 items, 3 broken ones left out", "identical, SSIM 1.0000", "PSNR 41.2 dB, SSIM 0.9877"]
    assert "data prepare" in prepared(None).missing[0]
