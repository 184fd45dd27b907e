"""The two steps of an audit, from a catalogue and a model to files.

    start(inputs, "train", encoder, cache, Path("audit"), share=0.05, seed=0)     # OUT/mark.html
    finish(inputs, "answers.json", encoder, cache, Path("audit"))                 # OUT/result.html, label_error.json,
                                                                                  #     suspects.csv
Between them a person marks labels on the page. Without an encoder there is no list of likely errors and no search for
near-identical pictures by vectors, which both steps say.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt import places
from clipadapt.atomic import atomic_write
from clipadapt.audit.answers import Answers
from clipadapt.audit.estimate import Estimate, Mark, estimates
from clipadapt.audit.label_error import LabelError
from clipadapt.audit.labels import Labels
from clipadapt.audit.overview import Overview, overview
from clipadapt.audit.page import marking_page, result_page, sentence
from clipadapt.audit.sample import Sample, draw
from clipadapt.audit.suspects import Suspects, suspects
from clipadapt.audit.twins import Twin, likeness, twins
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import grouped
from clipadapt.errors import CatalogueError
from clipadapt.inputs import Inputs
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.encoder import Encoder

_SECONDS = 2.4
"""Of a person per label: two hours for 5% of 60,000 labels, which is what 12,000 photos with five known cells have."""


class Started(NamedTuple):
    """What the first step wrote and saw."""

    page: Path
    labels: Labels
    sample: Sample
    overview: Overview
    twins: list[Twin]
    twin_sentence: str

    @property
    def minutes(self) -> float:
        """What marking takes at _SECONDS a label."""
        return len(self.sample.labels) * _SECONDS / 60


class Finished(NamedTuple):
    """What the second step says."""

    estimates: list[Estimate]
    suspects: Suspects | None
    sentence: str
    suspect_sentence: str


def start(
    inputs: Inputs, split: str, encoder: Encoder | None, cache: VectorCache, out: Path, *, share: float, seed: int
) -> Started:
    """Draws the sample, looks at sizes, spellings and near-identical pictures, and writes OUT/mark.html.

    Raises:
        CatalogueError: no such split, or no label in it.
        ConfigError: a share that is no fraction.
    """
    catalogue = audited(inputs, split)
    labels = Labels.of(catalogue)
    chosen = draw(labels, share, seed)
    every = {
        name: inputs.items(name).permitted("show")
        for name in (split, *(one for one in inputs.opened.splits() if one != split))
    }
    found = overview(every, catalogue, inputs.data, inputs.opened)
    pairs, words = _twins(every, encoder, cache)
    page = marking_page(
        catalogue, labels, chosen, chosen.digest(labels, catalogue.fingerprint), found, every, pairs, words
    )
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "mark.html", page)
    return Started(out / "mark.html", labels, chosen, found, pairs, words)


def finish(
    inputs: Inputs, answers: Answers, path: Path, encoder: Encoder | None, cache: VectorCache, out: Path
) -> Finished:
    """Reads the marks, estimates label error, lists likely errors and writes all of it into OUT.

    Raises:
        ConfigError: answers of another catalogue.
    """
    catalogue = audited(inputs.about(answers.attributes), answers.split)
    labels = Labels.of(catalogue)
    chosen = draw(labels, answers.share, answers.seed)
    answers.require(chosen.digest(labels, catalogue.fingerprint), path)
    found = estimates(labels, chosen, answers.marks)
    likely = None
    if encoder is not None:
        vectors = cache.pictures(encoder, catalogue, broken="count")
        likely = suspects(catalogue.attributes, vectors, labels, seed=answers.seed)
    marked: dict[int, Mark] = {int(chosen.labels[place]): mark for place, mark in answers.marks.items()}
    words, of_suspects = sentence(found, answers.seconds), _of_suspects(likely, marked)
    out.mkdir(parents=True, exist_ok=True)
    LabelError.of(catalogue, answers, found).save(out / "label_error.json")
    if likely is not None:
        atomic_write(out / "suspects.csv", _table(catalogue, labels, likely, marked))
    right = [label for label, mark in marked.items() if mark == "right"]
    atomic_write(out / "result.html", result_page(catalogue, labels, found, likely, right, words, of_suspects))
    return Finished(found, likely, words, of_suspects)


def audited(inputs: Inputs, split: str) -> Catalogue:
    """All items that the source has under that name, those that training sets aside for choices included.

    Raises:
        CatalogueError: no such split, or none of the attributes.
    """
    plain = inputs.items(split).permitted("show")
    there = [one for one in inputs.attributes if one.name in plain.columns]
    if not there:
        raise CatalogueError(
            f"{plain.source}: split {split!r} has no column {', '.join(one.name for one in inputs.attributes)}; "
            f"columns are {', '.join(plain.columns)}"
        )
    return grouped([plain.with_attributes(there)], inputs.data.title)[0]


def _twins(every: Mapping[str, Catalogue], encoder: Encoder | None, cache: VectorCache) -> tuple[list[Twin], str]:
    """Near-identical pictures, and in words what was looked for."""
    vectors: dict[str, Float[np.ndarray, "items dim"]] | None = None
    threshold = 1.0
    if encoder is not None:
        vectors = {name: cache.pictures(encoder, one, broken="count") for name, one in every.items()}
        first = next(iter(every))
        threshold = likeness(encoder, every[first], vectors[first])
    found = twins(every, vectors, threshold)
    by_hash = sum(one.by == "hash" for one in found)
    between = sum(one.splits for one in found)
    words = f"{by_hash} pair(s) in two products or splits are alike by perceptual hash, as copies are"
    if encoder is None:
        return (
            found,
            f"{words}, {between} of them in two splits. No model looked: crops and mirrored copies need --model.",
        )
    alike = (
        f"{words}; {len(found) - by_hash} more are as alike to the model as 19 of 20 pictures are to their own "
        f"mirrored and cropped copy (cosine {threshold:.3f}), which may be two products on one background. "
        f"{between} of all pairs are in two splits."
    )
    return found, alike


def _of_suspects(likely: Suspects | None, marked: Mapping[int, Mark]) -> str:
    if likely is None:
        return "No model looked at the labels: name one with --model."
    seen = [marked[one.label] for one in likely.suspects if one.label in marked]
    checked = f" Of those, a person marked {seen.count('wrong')} wrong and {seen.count('right')} right." if seen else ""
    left = f" {likely.unjudged} labels could not be judged." if likely.unjudged else ""
    return (
        f"A model that was fitted on other products would choose another value for {len(likely.suspects):,} of "
        f"{likely.judged:,} labels; the least probable come first, in suspects.csv all of them.{checked}{left} Those "
        "that were marked right are not shown. The model errs, too, above all on rare values."
    )


def _table(catalogue: Catalogue, labels: Labels, likely: Suspects, marked: Mapping[int, Mark]) -> str:
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(
        ["item", "product", "file", "row", "attribute", "value", "instead", "probability", "of_instead", "marked"]
    )
    for one in likely.suspects:
        row, stratum = int(labels.row[one.label]), labels.strata[labels.stratum[one.label]]
        place = catalogue.place(row)
        table.writerow(
            [catalogue.ids[row], labels.products[row], places.public(place.picture or place.file), place.row, *stratum,
             one.instead, f"{one.probability:.4f}", f"{one.other:.4f}", marked.get(one.label, "")]
        )  # fmt: skip
    return file.getvalue()
