"""Suites: what is measured, on what, by which metrics; one YAML file each in eval/.

    name: attributes
    tasks:
      - {task: recognition}
      - {task: text_to_image, by: value, k: [5, 10]}
      - {task: text_to_image, by: pair, pairs: [{Pattern: Striped, Fabric: Linen}]}
      - {task: retention, name: clothing10, source: folder, attribute: articleType, margin: 0.01}

A suite names no model, and no attribute unless it wants to: left out, the catalogue's own are measured. `check` holds
it against a catalogue, so that a name nobody has is an error before anything is encoded. The trade: values are
compared as text, exactly as the table writes them.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator

from clipadapt.config import Count, Fraction
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError, listing
from clipadapt.sections import Section, describe, read_yaml
from clipadapt.statistics.galleries import RankingMetric
from clipadapt.statistics.settings import Statistics

RecognitionMetric = Literal["top1", "balanced_accuracy", "macro_f1", "recall"]


class Recognition(Section):
    """Which of an attribute's values a picture has, the one whose texts are nearest."""

    task: Literal["recognition"] = "recognition"
    attributes: tuple[str, ...] | None = None
    """null: all attributes of the catalogue."""
    candidates: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Attribute -> the values to choose from; where not named, those with `min_items` items in the split."""
    prompts: Literal["ensemble", "plain"] = "ensemble"
    """ensemble: the mean of all the prompts file says of a value; plain: its one plain text."""
    metrics: tuple[RecognitionMetric, ...] = ("top1", "balanced_accuracy", "macro_f1", "recall")
    segments: tuple[str, ...] = ()
    """Columns whose values are measured apart as well, such as gender."""


class Ranking(Section):
    """What every ranking task says."""

    k: tuple[Count, ...] = (1, 5, 10)
    queries: Count = 1000
    """Most queries; more are chosen by a key, the same for every model."""
    depth: Count = 10_000
    """How far down a ranking is read; average precision is exact where the gallery is no larger."""
    segments: tuple[str, ...] = ()
    """Columns whose values are measured apart as well; the gallery is then the segment."""


class TextToImage(Ranking):
    """A text asks, pictures answer."""

    task: Literal["text_to_image"] = "text_to_image"
    by: Literal["value", "pair", "held_out_pair", "name", "category"] = "value"
    """value: each value of each attribute; pair: two values together; held_out_pair: pairs kept out of training;
    name: an item's own name, its product is right; category: each value of `column`."""
    attributes: tuple[str, ...] | None = None
    """value and pair; null: all attributes of the catalogue."""
    pairs: tuple[dict[str, str], ...] = ()
    """pair: those, instead of all pairs with `min_items` items."""
    column: str | None = None
    """name and category: the column; must be given there."""
    metrics: tuple[RankingMetric, ...] = ("precision", "r_precision", "average_precision", "ndcg")

    @field_validator("pairs")
    @classmethod
    def _two_each(cls, pairs: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        if short := [pair for pair in pairs if len(pair) < 2]:
            raise ValueError(f"{short[0]} is no pair; name two attributes or more")
        return pairs


class ImageToImage(Ranking):
    """A picture asks, pictures of other products answer (by: attributes), or of the same product (by: product)."""

    task: Literal["image_to_image"] = "image_to_image"
    by: Literal["attributes", "product"] = "attributes"
    attributes: tuple[str, ...] | None = None
    depth: Count = 1000
    metrics: tuple[RankingMetric, ...] = ("precision", "average_precision", "ndcg")


class ImageToText(Ranking):
    """A picture asks among all names of a column; its own is the one right answer."""

    task: Literal["image_to_text"] = "image_to_text"
    column: str
    metrics: tuple[RankingMetric, ...] = ("recall_at", "reciprocal_rank")


class Retention(Section):
    """What the base could do on other people's pictures and must not lose: recognition on a source of its own."""

    task: Literal["retention"] = "retention"
    name: str
    source: str
    """Whatever datasets.load_dataset loads; environment variables in it are expanded."""
    split: str = "validation"
    revision: str | None = None
    attribute: str
    """The column whose values are recognised."""
    image: str = "image"
    product: str | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Texts of a value, {} stands for its name; the mean of all is used."""
    names: dict[str, str] = Field(default_factory=dict)
    """Value -> its name in texts, where not as the table writes it with spaces for underscores ("polar_bear")."""
    margin: Fraction = 0.01
    """The loss that is still held to be none: the difference's lower bound must be above minus this."""
    limit: Count | None = None
    """Most items, chosen by a key; null: all."""

    @field_validator("templates")
    @classmethod
    def _named(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        without = [text for text in templates if "{}" not in text]
        if without or not templates:
            raise ValueError(f"every template needs {{}} where the value's name goes; found {list(templates)}")
        return templates


Task = Annotated[Recognition | TextToImage | ImageToImage | ImageToText | Retention, Field(discriminator="task")]


class Suite(Section):
    """A whole file."""

    name: str
    about: str = ""
    """One sentence for the report."""
    headline: tuple[str, ...] | None = None
    """Attributes whose mean is quoted; null: the run's own choice, else all exclusive attributes."""
    min_items: Count = 5
    """Values with fewer items in the split are neither measured nor offered as a choice."""
    statistics: Statistics = Statistics()
    tasks: tuple[Task, ...]

    @field_validator("tasks", mode="before")
    @classmethod
    def _some(cls, tasks: object) -> object:
        # Before the tasks are read: pydantic's min_length calls a list empty whose tasks are all at fault.
        if isinstance(tasks, list | tuple) and not tasks:
            raise ValueError("measures nothing; name one task or more")
        return tasks

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a suite file, or the shipped one of that name.

        Raises:
            ConfigError: no such file, no YAML, or any fault in it; all of them in one message.
        """
        raw = read_yaml(path)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            faults = describe(error, cls)
            raise ConfigError(f"{path}: {len(faults)} fault(s){listing(faults)}") from error

    def check(self, catalogue: Catalogue) -> None:
        """Holds every name of the suite against a catalogue.

        Raises:
            ConfigError: attributes, columns or values that the catalogue does not have; all of them at once.
        """
        faults = [fault for name in self.headline or () for fault in _column(catalogue, name, "headline")]
        for number, task in enumerate(self.tasks):
            faults += [f"tasks.{number} ({task.task}): {fault}" for fault in _faults(task, catalogue)]
        if faults:
            raise ConfigError(
                f"suite {self.name!r} does not fit {catalogue.source}, split {catalogue.split!r}: "
                f"{len(faults)} fault(s){listing(faults)}"
            )


def _faults(task: Task, catalogue: Catalogue) -> Iterator[str]:
    if isinstance(task, Retention):
        return
    for name in task.segments:
        yield from _column(catalogue, name, "segments")
    if isinstance(task, Recognition):
        for attribute, values in task.candidates.items():
            yield from _values(catalogue, attribute, values, "candidates")
    if isinstance(task, TextToImage):
        for pair in task.pairs:
            for attribute, value in pair.items():
                yield from _values(catalogue, attribute, (value,), "pairs")
        if task.by in ("name", "category") and task.column is None:
            yield f"column: missing; by {task.by} needs the column that holds it"
    if isinstance(task, Recognition | TextToImage | ImageToImage):
        for name in task.attributes or ():
            yield from _column(catalogue, name, "attributes")
    if isinstance(task, TextToImage | ImageToText) and task.column is not None:
        yield from _column(catalogue, task.column, "column")


def _column(catalogue: Catalogue, name: str, key: str) -> Iterator[str]:
    if name not in catalogue.columns:
        yield f"{key}: no column {name!r}{nearest(name, catalogue.columns)}"


def _values(catalogue: Catalogue, attribute: str, values: Sequence[str], key: str) -> Iterator[str]:
    yield from (missing := list(_column(catalogue, attribute, key)))
    if missing:
        return
    known = list(catalogue.counts(attribute))
    for value in values:
        if value not in known:
            yield f"{key}: no item has {attribute} {value!r}{nearest(value, known)}"


def nearest(name: str, known: Sequence[str]) -> str:
    """What may have been meant, as the end of a message."""
    folded = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else f"; there are: {', '.join(known[:10])}"
