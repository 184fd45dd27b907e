"""The table an editor watches: what each attribute's words achieve, against other words and against random ones.

    scorer = PromptScorer(labelled, encode)              # pictures and labels stay, texts come and go
    table = scorer.table(prompts, against=other)     # the first call encodes every text, later ones what changed
    scorer.table(edited, against=other)              # attributes whose texts are as before cost nothing

Per attribute: balanced accuracy over values with items enough, its paired difference to another file and to the same
texts with random words, and to the ensemble without each template; all with the intervals of metrics. Nothing here is
fitted; what was fitted elsewhere on these very pictures is refused. Nothing here prints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import PromptError
from clipadapt.metrics.intervals import Interval, Sample
from clipadapt.prompt_scoring.random_words import controls
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import Text
from clipadapt.recognition.nearest import nearest
from clipadapt.recognition.values import Classifier, Encode, ensemble_vectors

Ensemble = Callable[[str, str], list[Text]]
"""(attribute, value) -> its texts."""


class ValueRow(NamedTuple):
    """One value: the share of its items that are recognised."""

    value: str
    items: int
    products: int
    accuracy: Interval
    gain: Interval | None
    """Against the other file."""


class TemplateRow(NamedTuple):
    """One template, and what the ensemble would lose without it."""

    line: int
    text: str
    weight: float
    effect: Interval


@dataclass(frozen=True)
class AttributeTable:
    """What one attribute's words achieve; figures are balanced accuracies."""

    attribute: str
    items: int
    products: int
    accuracy: Interval
    against: Interval | None
    """The other file's own figure."""
    gain: Interval | None
    random: Interval
    """The same texts with random words: the control."""
    over_random: Interval
    values: tuple[ValueRow, ...]
    templates: tuple[TemplateRow, ...]
    """Empty where there is a single template."""


@dataclass(frozen=True)
class Table:
    """All attributes, and their mean."""

    prompts: str
    against: str | None
    attributes: tuple[AttributeTable, ...]
    accuracy: Interval
    gain: Interval | None
    over_random: Interval
    skipped: tuple[str, ...]
    """Attributes that could not be scored or compared, and why."""


class LabelledPictures(NamedTuple):
    """Pictures as vectors, with what people say of them."""

    vectors: Float[np.ndarray, "items dim"]
    """Unit length, float32; rows of NaN are broken pictures and are left out."""
    values: Mapping[str, Sequence[str | None]]
    """Attribute -> each item's value; None: nobody knows."""
    products: Shaped[np.ndarray, " items"]
    fingerprint: str = ""
    """Of the catalogue, by which weights that were fitted on it are recognised."""

    @classmethod
    def of(
        cls, catalogue: Catalogue, vectors: Float[np.ndarray, "items dim"], attributes: Sequence[str]
    ) -> "LabelledPictures":
        """A split's pictures and its labels of some attributes."""
        values = {name: catalogue.values(name) for name in attributes}
        return cls(vectors, values, catalogue.products, catalogue.fingerprint)


@dataclass(frozen=True)
class ScorableItems:
    """The part of the labelled pictures that one attribute is scored on."""

    values: tuple[str, ...]
    rows: Int[np.ndarray, " items"]
    codes: Int[np.ndarray, " items"]
    """Value of each item, by number."""
    products: Int[np.ndarray, " items"]
    """Product of each item among all products of the split."""
    sample: Sample

    def counts(self) -> tuple[list[int], list[int]]:
        """Items and distinct products of each value."""
        pairs = np.unique(np.stack([self.codes, self.products]), axis=1)
        items, products = (np.bincount(codes, minlength=len(self.values)) for codes in (self.codes, pairs[0]))
        return items.tolist(), products.tolist()


def joined(parts: Sequence[ScorableItems]) -> Sample:
    """Several attributes as one sample in which each counts alike, and so does each of its values."""
    sizes = [len(part.values) for part in parts]
    starts = np.cumsum([0, *sizes[:-1]])
    codes = np.concatenate([part.codes + start for part, start in zip(parts, starts, strict=True)])
    weights = np.concatenate([np.full(size, 1 / size / len(parts)) for size in sizes])
    return Sample(codes, np.concatenate([part.products for part in parts]), weights)


class _Scored(NamedTuple):
    """An attribute's table, with what the mean over attributes needs of each item."""

    table: AttributeTable
    right: Float[np.ndarray, " items"]
    gain: Float[np.ndarray, " items"] | None
    over_random: Float[np.ndarray, " items"]
    effects: tuple[tuple[int, Interval], ...]
    """(template's number, what the ensemble would lose without it); its line may move while its figures stay."""


class PromptScorer:
    """Pictures of one split, ready to judge any number of prompts files."""

    def __init__(
        self, labelled: LabelledPictures, encode: Encode, *, min_items: int = 5, replicates: int = 2, seed: int = 0
    ):
        self.labelled = labelled
        self.encode = encode
        self.min_items = min_items
        """Values with fewer items are left out."""
        self.replicates = replicates
        """Random-word controls, whose scores are averaged."""
        self.seed = seed
        self._usable = np.isfinite(labelled.vectors).all(axis=1)
        self._products = np.unique(labelled.products, return_inverse=True)[1]
        self._scorable: dict[str, ScorableItems | str] = {}
        self._samples: dict[tuple[str, ...], Sample] = {}
        self._pictures: dict[str, np.ndarray] = {}
        self._kept: dict[str, tuple[object, _Scored]] = {}
        """Attribute -> the texts it was scored with last, and what came out."""

    def table(
        self,
        prompts: Prompts,
        against: Prompts | Ensemble | None = None,
        name: str | None = None,
        *,
        attributes: Sequence[str] | None = None,
    ) -> Table:
        """Scores a file, on all attributes of the labelled pictures or on some.

        `against` may be any source of ensembles, such as `plain_of(prompts)`, under a `name`; attributes that another
        file has no words for are scored, but not compared.

        Raises:
            PromptError: no attribute can be scored, or the file's weights were fitted on these pictures.
        """
        prompts.refuse_fitted(self.labelled.fingerprint)
        other: Ensemble | None = against.ensemble if isinstance(against, Prompts) else against
        if isinstance(against, Prompts):
            against.refuse_fitted(self.labelled.fingerprint)
            name = name or against.path
        scored: list[_Scored] = []
        skipped: list[str] = []
        for attribute in self.labelled.values if attributes is None else attributes:
            scorable = self.scorable(attribute)
            if isinstance(scorable, str):
                skipped.append(f"{attribute}: {scorable}")
                continue
            compared = not isinstance(against, Prompts) or against.speaks_of(attribute)
            if not compared:
                skipped.append(f"{attribute} against {name}, which has no words for it")
            scored.append(self._attribute(attribute, scorable, prompts, other if compared else None))
        if not scored:
            raise PromptError(
                f"{prompts.path}: no attribute can be scored here: {'; '.join(skipped) or 'none in common'}"
            )
        everything = self._joined([one.table.attribute for one in scored])
        compared = {one.table.attribute: one.gain for one in scored if one.gain is not None}
        return Table(
            prompts.path,
            name,
            tuple(one.table for one in scored),
            everything.interval(np.concatenate([one.right for one in scored])),
            self._joined([*compared]).difference(np.concatenate([*compared.values()])) if compared else None,
            everything.difference(np.concatenate([one.over_random for one in scored])),
            tuple(skipped),
        )

    def _joined(self, attributes: Sequence[str]) -> Sample:
        """The sample of some attributes together, kept until others are asked for."""
        key = tuple(attributes)
        if key not in self._samples:
            parts = [part for name in key if isinstance(part := self.scorable(name), ScorableItems)]
            self._samples = {key: joined(parts)}
        return self._samples[key]

    def scorable(self, attribute: str) -> ScorableItems | str:
        """The items and values an attribute is scored on, or why it cannot be."""
        if attribute not in self._scorable:
            self._scorable[attribute] = self._choose(attribute)
        return self._scorable[attribute]

    def _choose(self, attribute: str) -> ScorableItems | str:
        cells = np.array([value or "" for value in self.labelled.values[attribute]])
        names, place = np.unique(cells, return_inverse=True)
        enough = np.bincount(place[self._usable], minlength=len(names)) >= self.min_items
        enough &= names != ""
        if enough.sum() < 2:
            return f"fewer than two values with at least {self.min_items} items"
        rows = np.flatnonzero(enough[place] & self._usable)
        codes = (np.cumsum(enough) - 1)[place[rows]]
        products = self._products[rows]
        if (products == products[0]).all():
            return "all its items are of one product"
        values = tuple(names[enough].tolist())
        return ScorableItems(values, rows, codes, products, Sample(codes, products))

    def pictures(self, attribute: str, scorable: ScorableItems) -> Float[np.ndarray, "scorable dim"]:
        """Their vectors, one block in memory."""
        if attribute not in self._pictures:
            self._pictures[attribute] = np.ascontiguousarray(self.labelled.vectors[scorable.rows], np.float32)
        return self._pictures[attribute]

    def _attribute(self, attribute: str, scorable: ScorableItems, prompts: Prompts, other: Ensemble | None) -> _Scored:
        texts = [prompts.ensemble(attribute, value) for value in scorable.values]
        theirs = None if other is None else [other(attribute, value) for value in scorable.values]
        key = (texts, theirs)
        last = self._kept.get(attribute)
        if last is None or last[0] != key:
            last = self._kept[attribute] = (key, self._score(attribute, scorable, texts, theirs))
        entries = prompts.wording(attribute).templates
        rows = (
            TemplateRow(entries[number].place.line, entries[number].what.text, entries[number].weight, effect)
            for number, effect in last[1].effects
        )
        return last[1]._replace(table=replace(last[1].table, templates=tuple(rows)))

    def _score(
        self,
        attribute: str,
        scorable: ScorableItems,
        ensembles: list[list[Text]],
        theirs: list[list[Text]] | None,
    ) -> _Scored:
        sample = scorable.sample
        right = self.right(attribute, scorable, ensembles)
        before = None if theirs is None else self.right(attribute, scorable, theirs)
        chance = np.mean(
            [
                self.right(attribute, scorable, [controls(texts, replicate, self.seed) for texts in ensembles])
                for replicate in range(self.replicates)
            ],
            axis=0,
        )
        gain = None if before is None else right - before
        used = sorted({text.template for texts in ensembles for text in texts if text.template >= 0})
        effects = []
        for number in used if len(used) > 1 else ():
            rest = self.right(attribute, scorable, [without(texts, number) for texts in ensembles])
            effects.append((number, sample.difference(right - rest)))
        gains = [None] * len(scorable.values) if gain is None else sample.differences_by_class(gain)
        table = AttributeTable(
            attribute,
            len(scorable.rows),
            sample.products,
            sample.interval(right),
            None if before is None else sample.interval(before),
            None if gain is None else sample.difference(gain),
            sample.interval(chance),
            sample.difference(right - chance),
            tuple(map(ValueRow, scorable.values, *scorable.counts(), sample.by_class(right), gains)),
            templates=(),
        )
        return _Scored(table, right, gain, right - chance, tuple(effects))

    def right(
        self, attribute: str, scorable: ScorableItems, ensembles: Sequence[Sequence[Text]]
    ) -> Float[np.ndarray, " scorable"]:
        """1 where an item is recognised as what it is."""
        classifier = Classifier.cosine(ensemble_vectors(ensembles, self.encode))
        found = nearest(self.pictures(attribute, scorable), classifier)
        return (found == scorable.codes).astype(np.float64)


def verdict(change: Interval) -> Literal["helps", "hurts", "unclear"]:
    """On which side of zero the interval of a difference is."""
    if change.low > 0:
        return "helps"
    return "hurts" if change.high < 0 else "unclear"


def plain_of(prompts: Prompts) -> Ensemble:
    """The one plain text per value, as an ensemble to compare with."""

    def ensemble(attribute: str, value: str) -> list[Text]:
        return [Text(prompts.plain(attribute, value), 1.0, 0, "")]

    return ensemble


def without(texts: Sequence[Text], template: int) -> list[Text]:
    """An ensemble that lacks one template; whole where it has no other."""
    kept = [text for text in texts if text.template != template]
    total = sum(text.share for text in kept)
    return [text._replace(share=text.share / total) for text in kept] if kept else list(texts)
