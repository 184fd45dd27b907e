"""Thresholds: per attribute what tune says its probabilities are worth, kept as thresholds.json.

    thresholds = fit(encoder, tune, prompts, tune.attributes, cache, precision=0.95)
    thresholds.save("thresholds.json");  Thresholds.load("thresholds.json").require(encoder, prompts)

The file: {schema_version, precision, confidence, model: {name, image_space, text_space}, prompts: {path, digest},
fitted_on: {source, split, carved_from, fingerprint, items, products}, attributes: {name: {kind, separator, values,
tune_items, absent, slope, offset, prior, threshold, reason, predictions, right, effective, lost}}}. A probability is
the softmax of slope x cosine + prior over `values` (exclusive), or the sigmoid of slope x cosine + offset + prior
(multi), the prior by how many items of tune have each value; one of `threshold` or more needs no person, null means
that all do. All are fitted on the same items: one slope and the shares of values are too little to overfit, and what
that costs is measured by the test that simulates it. What is tagged is unknown here.
"""

import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from clipadapt.atomic import atomic_write
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.errors import ConfigError, SpaceError
from clipadapt.prompts import Prompts
from clipadapt.recognition.calibration import Scale, fit_sigmoid, fit_softmax, log_odds, log_shares
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.certify import Certified, certify
from clipadapt.tagging.predictions import Candidates, candidates_of, predict, truth_of
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)

THRESHOLDS = "thresholds.json"
"""In a run's or release's folder."""
SCHEMA_VERSION = 3
"""2: probabilities did not take into account how frequent values are."""
CONFIDENCE = 0.9
"""Share of tune samples from which the precision is truly reached."""


class Calibrated(NamedTuple):
    """One attribute's candidate values, temperature and threshold."""

    candidates: Candidates
    scale: Scale
    shown: Certified
    lost: int
    """Labelled items of tune whose nearest value nobody in tune has, so that nothing is believed of them."""

    def to_json(self) -> dict[str, Any]:
        """All parts side by side; the attribute's name is the key that they stand under."""
        parts = self.candidates._asdict() | self.scale._asdict() | self.shown._asdict() | {"lost": self.lost}
        return {name: part for name, part in parts.items() if name != "attribute"}

    @classmethod
    def from_json(cls, name: str, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; raises KeyError and TypeError."""
        candidates = {key: document[key] for key in Candidates._fields if key != "attribute"}
        candidates |= {key: tuple(document[key]) for key in ("values", "tune_items", "absent")}
        return cls(
            Candidates(attribute=name, **candidates),
            Scale(document["slope"], document["offset"], tuple(document["prior"])),
            Certified(**{key: document[key] for key in Certified._fields}),
            document["lost"],
        )


class FittedOn(NamedTuple):
    """The items that thresholds were fitted on."""

    source: str
    split: str
    carved_from: str | None
    """The split that this one was carved from, where it was."""
    fingerprint: str
    items: int
    products: int


@dataclass(frozen=True)
class Thresholds:
    """Of every attribute, for one model and one prompts file."""

    precision: float
    """What is sure was shown to be right at least so often."""
    confidence: float
    model: dict[str, Any]
    prompts: dict[str, str]
    fitted_on: FittedOn
    attributes: dict[str, Calibrated]

    def save(self, path: str | Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            StoreError: it cannot be written.
        """
        shallow = {field.name: getattr(self, field.name) for field in fields(self)}
        document = (
            {"schema_version": SCHEMA_VERSION}
            | shallow
            | {
                "fitted_on": self.fitted_on._asdict(),
                "attributes": {name: one.to_json() for name, one in self.attributes.items()},
            }
        )
        atomic_write(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the file.

        Raises:
            ConfigError: no such file, or a form this version does not know.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["schema_version"] != SCHEMA_VERSION:
                raise ConfigError(
                    f"{path}: thresholds of schema version {document['schema_version']}, not {SCHEMA_VERSION}; "
                    "fit them again with `clipadapt tag --tune`"
                )
            return cls(
                **{name: document[name] for name in ("precision", "confidence", "model", "prompts")},
                fitted_on=FittedOn(**document["fitted_on"]),
                attributes={name: Calibrated.from_json(name, one) for name, one in document["attributes"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: cannot be read as thresholds.json: {type(error).__name__}: {error}; "
                "fit them again with `clipadapt tag --tune`"
            ) from error

    def require(self, encoder: Encoder, prompts: Prompts) -> None:
        """Refuses a model or a prompts file that they were not fitted for.

        Raises:
            SpaceError: other vectors.
            ConfigError: other words.
        """
        for space in ("image_space", "text_space"):
            if getattr(encoder, space) != self.model[space]:
                raise SpaceError(
                    f"thresholds were fitted for {self.model['name']} ({space} {self.model[space]}), not for "
                    f"{encoder.name} ({getattr(encoder, space)}); fit them again with `clipadapt tag --tune`"
                )
        if prompts.digest != self.prompts["digest"]:
            raise ConfigError(
                f"thresholds were fitted with the words of {self.prompts['path']}, and {prompts.path} says "
                "something else; name that file with --prompts, or fit them again with `clipadapt tag --tune`"
            )

    def refuse(self, catalogue: Catalogue, split: str) -> None:
        """Refuses to tag the items that they were fitted on.

        Raises:
            ConfigError: it is that split, or the one that was carved from.
        """
        fitted = self.fitted_on
        same = catalogue.source == fitted.source and split in (fitted.split, fitted.carved_from)
        if same or catalogue.fingerprint == fitted.fingerprint:
            carved = f", carved from {fitted.carved_from!r}" if fitted.carved_from else ""
            raise ConfigError(
                f"thresholds were fitted on split {fitted.split!r}{carved} of {fitted.source}, so {split!r} cannot be "
                "tagged with them; tag another split, or fit them on another one with --tune"
            )


def fit(
    encoder: Encoder,
    tune: Catalogue,
    prompts: Prompts,
    attributes: Sequence[Attribute],
    cache: VectorCache,
    *,
    split: str | None = None,
    carved_from: str | None = None,
    known: Mapping[str, Iterable[str]] | None = None,
    precision: float = 0.95,
    confidence: float = CONFIDENCE,
    progress: bool = True,
) -> Thresholds:
    """Temperatures and thresholds of every attribute, from the labelled items of tune whose pictures can be read.

    Args:
        split: what tune is called, where it was carved and bears its source's name.
        known: attribute -> values met elsewhere; they are candidates, and never believed unless tune has them.

    Raises:
        PromptError: an attribute or a value has no words.
        ModelError: the model has no text tower.
    """
    pictures = read_pictures(encoder, tune, cache, progress=progress)
    whole = np.flatnonzero(np.isfinite(pictures).all(axis=1))
    if len(whole) < len(tune):
        log.warning(
            "%d picture(s) of %s cannot be decoded and are left out of what thresholds are fitted on",
            len(tune) - len(whole), split or tune.split,
        )  # fmt: skip
    fitted = {}
    for attribute in attributes:
        sets = tune.value_sets(attribute.name)
        labelled = np.array([row for row in whole if sets[row]], np.int64)
        counts: dict[str, int] = {}
        for row in labelled:
            for value in sets[row]:
                counts[value] = counts.get(value, 0) + 1
        candidates = candidates_of(attribute, prompts, counts, (known or {}).get(attribute.name, ()))
        texts = cache.values(encoder, prompts, attribute.name, candidates.values)
        fitted[attribute.name] = _calibrated(
            candidates, pictures[labelled], texts, [sets[row] for row in labelled], tune.products[labelled],
            precision, confidence,
        )  # fmt: skip
    return Thresholds(
        precision,
        confidence,
        {"name": encoder.name, "image_space": encoder.image_space, "text_space": encoder.text_space},
        {"path": prompts.path, "digest": prompts.digest},
        FittedOn(
            tune.source, split or tune.split, carved_from, tune.fingerprint, len(whole), len(set(tune.products[whole]))
        ),
        fitted,
    )


def read_pictures(encoder: Encoder, catalogue: Catalogue, cache: VectorCache, *, progress: bool = True) -> np.ndarray:
    """A unit vector per item, float32 [n, dim]; NaN for pictures that cannot be decoded, which the caller counts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*could not be decoded", category=UserWarning)
        return cache.pictures(encoder, catalogue, broken="count", progress=progress)


def _calibrated(
    candidates: Candidates,
    pictures: np.ndarray,
    texts: np.ndarray,
    sets: Sequence[frozenset[str]],
    products: np.ndarray,
    precision: float,
    confidence: float,
) -> Calibrated:
    if not len(pictures):
        return Calibrated(
            candidates, Scale(1.0), Certified(None, "not one item of tune has a known value", 0, 0, 0.0), 0
        )
    truth, usable = truth_of(candidates, sets), candidates.calibrated
    similarity, counts = pictures @ texts.T.astype(np.float32), np.array(candidates.tune_items)
    if candidates.kind == "exclusive":
        scale = fit_softmax(similarity, truth.has.argmax(axis=1), log_shares(counts))
    else:
        prior = log_odds(counts, len(pictures))
        among = Scale(1.0, prior=prior).of(np.flatnonzero(usable)).prior
        scale = fit_sigmoid(similarity[:, usable], truth.has[:, usable], among)._replace(prior=prior)
    made = predict(pictures, texts, candidates, scale)
    if candidates.kind == "exclusive" and len(candidates.values) == 1:
        reason = f"{candidates.values[0]!r} is the only value that is known, so there is nothing to tell it from"
        return Calibrated(candidates, scale, Certified(None, reason, len(made.rows), 0, 0.0), 0)
    believed = usable[made.values]
    shown = certify(
        made.probability[believed],
        truth.right(made)[believed],
        products[made.rows[believed]],
        precision=precision,
        confidence=confidence,
    )
    return Calibrated(candidates, scale, shown, int((~believed).sum()))
