"""What every task is given: the catalogue, the systems with their picture vectors, the words, and which items count.

    context.value_sets("Pattern")            # of every item; empty where unknown, or outside the segment
    context.offered("Pattern")               # values with items enough, most frequent first
    context.of_values("Pattern", values)     # system -> vectors of the values' texts
    context.in_wording("file")               # the same with values called as the prompts file calls them
    for part in context.parts(("gender",)):  # the whole, then each segment with items enough
        ...

A segment is the same context with other items masked as if nothing were known of them. Nothing here measures.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.data import bins
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.thumbnails import thumbnail
from clipadapt.evaluation.details import Confusion, Example, Flips, Reliability
from clipadapt.recognition.accuracy import offered
from clipadapt.recognition.predict import Predictions
from clipadapt.recognition.values import Classifier, head_classifier
from clipadapt.recognition.values import Wording as ValueTexts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.rows import QUOTED, Bin, Row, Wording
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.encoder import Encoder

_SHARES: Mapping[Wording, float] = {"texts": 0.0, "vectors": 1.0}


@dataclass(frozen=True)
class EvalContext:
    """One evaluation before anything is measured; broken pictures are already out of it."""

    catalogue: Catalogue
    encoders: Mapping[str, Encoder]
    """System -> encoder, the reported one first."""
    pictures: Mapping[str, Float[np.ndarray, "items dim"]]
    vectors: VectorCache
    prompts: ValueTexts
    sampler: Sampler
    split: str
    min_items: int
    """Values with fewer items are neither measured nor offered as a choice."""
    statistics: Statistics
    train_counts: Mapping[str, Mapping[str, int]] | None = None
    """Attribute -> value -> labelled training items; null: bins are not known."""
    holdout_pairs: Sequence[Mapping[str, str]] = ()
    heads: Mapping[str, LinearHead] = field(default_factory=dict)
    """System -> the linear head that recognises its attributes in place of texts, where it has one."""
    tune: Catalogue | None = None
    """What temperatures are fitted on; null: each model's own scale stands."""
    progress: bool = True
    show: bool = True
    """Whether reports may show pictures."""
    words: Mapping[Wording, ValueTexts] = field(default_factory=dict)
    """Wording -> what values are called in it; empty: `prompts` alone."""
    wording: Wording | None = None
    """Which of them `prompts` is; null: what is measured does not go by one."""
    share: float | None = None
    """Of value vectors in mixtures with texts; null: as each model's tune chose."""
    within: Bool[np.ndarray, " items"] | None = None
    segment: str | None = None
    _sets: dict[str, list[frozenset[str]]] = field(default_factory=dict)

    @property
    def systems(self) -> tuple[str, str | None]:
        """What is reported, and what it is compared with, if anything."""
        names = [*self.encoders, None]
        return names[0] or "", names[1]

    def thumbnail(self, row: int, side: int = 96) -> bytes:
        """A JPEG of an item's picture that fits a square of `side` pixels; empty where pictures are not shown."""
        if not self.show:
            return b""
        return thumbnail(self.catalogue.picture(row), side)

    def in_wording(self, wording: Wording) -> "EvalContext":
        """The same with values called in one of `words`."""
        return replace(self, prompts=self.words[wording], wording=wording, share=_SHARES.get(wording))

    def wording_of(self, attribute: str) -> Wording | None:
        """The wording that an attribute is recognised in; null where linear heads recognise it in every system."""
        heads = [self.heads.get(system) for system in self.encoders]
        headed = all(head is not None and attribute in head.attributes for head in heads)
        return None if headed else self.wording

    def value_sets(self, attribute: str) -> list[frozenset[str]]:
        """The values of every item; empty where unknown or outside the segment."""
        if attribute not in self._sets:
            sets = self.catalogue.value_sets(attribute)
            if self.within is not None:
                sets = [had if inside else frozenset() for had, inside in zip(sets, self.within, strict=True)]
            self._sets[attribute] = sets
        return self._sets[attribute]

    def attributes(self, named: Sequence[str] | None) -> tuple[str, ...]:
        """Those named, or all of the catalogue's."""
        return tuple(named) if named is not None else tuple(one.name for one in self.catalogue.attributes)

    def exclusive(self, attribute: str) -> bool:
        """Whether an item has one value at most; a column that is no attribute is taken for exclusive."""
        return all(one.kind == "exclusive" for one in self.catalogue.attributes if one.name == attribute)

    def counts(self, attribute: str) -> Counter[str]:
        """Value -> items, within the segment."""
        return Counter(value for had in self.value_sets(attribute) for value in had)

    def offered(self, attribute: str) -> list[str]:
        """Values with `min_items` items or more, most frequent first, then by name."""
        return offered(self.counts(attribute), self.min_items)

    def bin(self, attribute: str, value: str) -> Bin:
        """The bin of a value; `all` where training counts are not known."""
        counts = None if self.train_counts is None else self.train_counts.get(attribute)
        return "all" if counts is None else bins.bin_of(counts.get(value, 0))

    def binned(self, attribute: str, values: Sequence[str]) -> dict[Bin, list[int]]:
        """Places of the values in each bin that has any, after `all` of them; rare is few and medium."""
        places: dict[Bin, list[int]] = {"all": list(range(len(values)))}
        of_values = [self.bin(attribute, value) for value in values]
        for name in ("many", "medium", "few", "rare"):
            wanted = ("medium", "few") if name == "rare" else (name,)
            if members := [place for place, bin_ in enumerate(of_values) if bin_ in wanted]:
                places[name] = members
        return places

    def classifiers(self, attribute: str, values: Sequence[str], *, plain: bool = False) -> dict[str, Classifier]:
        """What scores the values, by system: their texts, or a linear head."""
        found = {}
        for system, encoder in self.encoders.items():
            head = self.heads.get(system)
            if head is not None and attribute in head.attributes:
                found[system] = head_classifier(head, attribute, values)
            else:
                vectors = self.vectors.values(encoder, self.prompts, attribute, values, plain=plain, share=self.share)
                found[system] = Classifier.cosine(vectors)
        return found

    def unrecognisable(self, attribute: str) -> str | None:
        """Why an attribute cannot be recognised: a system with a head for others and no texts; None where it can be."""
        for system, encoder in self.encoders.items():
            head = self.heads.get(system)
            if head is not None and encoder.text_space is None and attribute not in head.attributes:
                return f"{system} has no text tower, and its linear head recognises {', '.join(head.attributes)} alone"
        return None

    def textless(self) -> str | None:
        """Why tasks that need texts are left out: a system that has a head and no text tower; None where none is."""
        for system, encoder in self.encoders.items():
            if system in self.heads and encoder.text_space is None:
                return f"{system} has no text tower, and this task's queries are texts"
        return None

    def of_values(self, attribute: str, values: Sequence[str], *, plain: bool = False) -> dict[str, np.ndarray]:
        """System -> unit vectors of the values' texts, in their order."""
        return {
            system: self.vectors.values(encoder, self.prompts, attribute, values, plain=plain, share=self.share).astype(
                np.float32
            )
            for system, encoder in self.encoders.items()
        }

    def of_texts(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """System -> unit vectors of texts."""
        return {system: self.vectors.texts(encoder, texts) for system, encoder in self.encoders.items()}

    def rows(self, attribute: str) -> Int[np.ndarray, " n"]:
        """Items whose value is known, within the segment."""
        return np.flatnonzero([bool(had) for had in self.value_sets(attribute)])

    def task(self, name: str) -> str:
        """A task's name in rows, with the segment."""
        return name if self.segment is None else f"{name}@{self.segment}"

    def parts(self, columns: Sequence[str]) -> Iterator["EvalContext"]:
        """The context itself, then each value of the columns that at least four times `min_items` items have.

        Segments are measured in the quoted wording alone.
        """
        yield self
        for column in columns if self.wording in (None, QUOTED) else ():
            sets = self.catalogue.value_sets(column)
            for value, count in sorted(self.catalogue.counts(column).items()):
                if count >= 4 * self.min_items:
                    within = np.array([value in had for had in sets])
                    yield replace(self, within=within, segment=f"{column}={value}", _sets={})


@dataclass
class Measured:
    """What tasks measured."""

    cells: list[Cell] = field(default_factory=list)
    """Figures that become rows of the evaluation."""
    rows: list[Row] = field(default_factory=list)
    """Rows that are whole already: of items that are not the catalogue's."""
    confusions: list[Confusion] = field(default_factory=list)
    flips: list[Flips] = field(default_factory=list)
    reliability: dict[tuple[str, str], Reliability] = field(default_factory=dict)
    """By attribute and system."""
    examples: list[Example] = field(default_factory=list)
    margins: dict[str, float] = field(default_factory=dict)
    """Retention set -> the loss that still counts as none."""
    predictions: dict[str, Predictions] = field(default_factory=dict)
    """Of the recognition task over all items, by attribute: what headlines are aggregated from."""
    notes: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def __iadd__(self, other: "Measured") -> "Measured":
        self.cells += other.cells
        self.rows += other.rows
        self.confusions += other.confusions
        self.flips += other.flips
        self.reliability |= {key: one for key, one in other.reliability.items() if key not in self.reliability}
        self.examples += other.examples
        self.margins |= other.margins
        self.predictions |= other.predictions
        self.notes += other.notes
        return self
