"""What readers see of a release's work: captions and alt texts with a person's marks, and prepared pictures.

    captions(Path("gallery"), Path("marked.csv"), image_space)
    prepared(Path("prepared_quality.json"))

A gallery brings sample.csv, a random sample of its texts with an empty column `right`; a person writes yes or no there,
in a copy. The share of yes has an interval by product. Texts of another model are no evidence, and are refused.
Nothing here recognises or decodes anything.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from clipadapt.deploy.evidence.beside import wrong_labels
from clipadapt.deploy.evidence.packet import Fact, Section, read_document
from clipadapt.deploy.gallery.write import RECORD, SAMPLE, TEXTS
from clipadapt.errors import UsageError
from clipadapt.metrics.intervals import balanced_interval

SHOWN = 5
"""Texts that the packet quotes."""
_YES, _NO = {"yes", "y", "1", "true"}, {"no", "n", "0", "false"}


def captions(folder: Path | None, marked: Path | None, image_space: str, label_audit: Path | None = None) -> Section:
    """How many texts there are, some of them, and how many a person found right.

    The precision of their values was shown on labels, which are not all right themselves, so that what a label audit
    says of the attributes that the texts state stands beside it.

    Raises:
        UsageError: no gallery, texts of another model, or marks of other texts.
    """
    title = "Captions and alt texts"
    if folder is None:
        if marked is not None:
            raise UsageError(f"--captions-audit {marked}: marks of which texts? name their gallery with --captions")
        return Section(title, missing=("none were looked at; clipadapt captions --out FOLDER, then --captions",))
    record, lines = _read(folder)
    if record["model"]["image_space"] != image_space:
        raise UsageError(f"{folder}: texts of {record['model']['name']}, which is another model; write them again")
    kept = ", ".join(f"{count:,} left out: {reason}" for reason, count in record["left_out"].items())
    facts = [
        Fact("items with a caption and an alt text", f"{record['items']:,}" + (f"; {kept}" if kept else ""), RECORD),
        Fact(
            "precision that their values were shown to have",
            f"{record['precision']:.0%} on the split for choices",
            RECORD,
        ),
    ]
    stated = sorted({name for line in lines for name in line["states"]})
    wrong, missing = _wrong_labels(label_audit, stated)
    facts += wrong
    step = max(len(lines) // SHOWN, 1)
    facts += [Fact(one["id"], f"“{one['alt_text']}”", TEXTS) for one in lines[::step][:SHOWN]]
    if marked is None:
        missing.append(
            f"nobody has marked a sample; fill in `right` in a copy of {folder.name}/{SAMPLE}, then --captions-audit"
        )
        return Section(title, tuple(facts), tuple(missing))
    return Section(title, (*facts, *_marks(marked, lines)), tuple(missing))


def prepared(file: Path | None) -> Section:
    """How far prepared pictures are from their originals.

    Raises:
        UsageError: the file is something else.
    """
    title = "Prepared pictures"
    if file is None:
        return Section(title, missing=("no report named; clipadapt data prepare ... --json > FILE, then --prepared",))
    document = read_document(file, ("items", "broken", "psnr", "ssim", "crop_psnr", "crop_ssim"))
    counted = f"{document['items']:,} items, {document['broken']:,} broken ones left out"
    worst = _quality(document["psnr"], document["ssim"])
    crop = _quality(document["crop_psnr"], document["crop_ssim"])
    facts = [
        Fact("prepared", counted, f"{file.name}, items"),
        Fact("as evaluation sees them, the worst", worst, f"{file.name}, psnr, ssim"),
        Fact("a training crop of half the area, on average", crop, f"{file.name}, crop_psnr, crop_ssim"),
    ]
    return Section(title, tuple(facts))


def _wrong_labels(file: Path | None, stated: list[str]) -> tuple[list[Fact], list[str]]:
    """Of each attribute that the texts state."""
    if file is None:
        return [], [f"how many labels of {', '.join(stated)} are wrong, on which that precision rests; --label-audit"]
    audited = {fact.what: fact for fact in wrong_labels(file)}
    named = {name: f"wrong labels, {name}" for name in stated}
    facts = [
        audited[what]._replace(what=f"{what}, among those that precision was shown on")
        for what in named.values()
        if what in audited
    ]
    lacking = [name for name, what in named.items() if what not in audited]
    return facts, [f"{file.name} says nothing of labels of {', '.join(lacking)}; audit them, too"] if lacking else []


def _marks(marked: Path, lines: list[dict[str, Any]]) -> list[Fact]:
    known = {one["id"]: one for one in lines}
    try:
        with marked.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{marked}: cannot be read ({error}); name the copy of {SAMPLE} that was filled in") from error
    right, products = [], []
    for number, row in enumerate(rows, 2):
        mark, said = (row.get("right") or "").strip().casefold(), known.get(row.get("id") or "")
        if not mark:
            continue
        if mark not in _YES | _NO:
            raise UsageError(f"{marked}, line {number}: right is {row['right']!r}; write yes or no, or leave it empty")
        if said is None or (said["caption"], said["alt_text"]) != (row.get("caption"), row.get("alt_text")):
            raise UsageError(f"{marked}, line {number}: marks a text that is not in the gallery; mark its own {SAMPLE}")
        right.append(mark in _YES)
        products.append(said["product"])
    if len(set(products)) < 2:
        raise UsageError(f"{marked}: {len(right)} text(s) are marked; fill in `right` for two products or more")
    scores = np.array(right, np.float64)
    found = balanced_interval(scores, np.zeros(len(scores), np.int64), np.array(products, np.str_))
    shown = f"{100 * found.mean:.0f}% [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    says = f"{shown} of {len(scores):,} texts, of {len(set(products)):,} products, by a person's marks"
    return [Fact("right", says, marked.name)]


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    record = read_document(folder / RECORD, ("model", "items", "left_out", "precision"))
    try:
        lines = [json.loads(line) for line in (folder / TEXTS).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / TEXTS}: cannot be read ({error}); write the gallery again") from error
    return record, lines


def _quality(decibels: float | None, likeness: float) -> str:
    return f"{'identical' if decibels is None else f'PSNR {decibels:.1f} dB'}, SSIM {likeness:.4f}"
