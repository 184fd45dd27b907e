"""Retention: recognition on other people's pictures, to see what an adaptation has lost.

The source is a catalogue of its own, with its own products and split; texts come from the suite's templates, not from
the prompts file that training knew. Recognition is as the model ships: where it has vectors of values that the source
calls by the same names, they are mixed in; a source with names of its own is recognised by texts. What loss is too
much is not decided here: the report and the gate hold the margin.
"""

import os
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from clipadapt import keyed
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError, listing
from clipadapt.evaluation.inputs import prepare
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.recognition import Recognition
from clipadapt.evaluation.tasks.task import Task, near
from clipadapt.prompts.wording import Text
from clipadapt.sections import Count, Fraction
from clipadapt.statistics.cells import to_rows
from clipadapt.statistics.sampling import Sampler


class Retention(Task):
    """What the base could do on other people's pictures and must not lose: recognition on a source of its own."""

    task: str = "retention"
    needs_texts: ClassVar[bool] = True
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
    """The loss that still counts as none: the difference's lower bound must be above minus this."""
    limit: Count | None = None
    """Most items, chosen by a key; null: all."""

    @field_validator("templates")
    @classmethod
    def _named(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        without = [text for text in templates if "{}" not in text]
        if without or not templates:
            raise ValueError(f"every template needs {{}} where the value's name goes; found {list(templates)}")
        return templates

    def row_tasks(self) -> tuple[str, ...]:
        """Its own name, and that of all retention."""
        return ("retention", f"retention:{self.name}")

    def require_source(self, seed: int) -> None:
        """As `load` raises."""
        load(self, seed)

    def measure(self, context: EvalContext) -> Measured:
        """Recognition of the column on its own items, which get rows of their own."""
        inputs = prepare(
            context.encoders, load(self, context.statistics.seed), context.vectors, progress=context.progress
        )
        retained = replace(
            context,
            catalogue=inputs.catalogue,
            pictures=inputs.pictures,
            prompts=Templates(self),
            sampler=Sampler.of(inputs.catalogue.products, context.statistics),
            split=self.split,
            train_counts=None,
            holdout_pairs=(),
            heads={},
            tune=None,
            _sets={},
        )
        measured = Recognition(attributes=(self.attribute,)).measure(retained)
        name = f"retention:{self.name}"
        cells = [cell._replace(task=name) for cell in measured.cells]
        return Measured(
            rows=to_rows(cells, retained.systems, retained.split, retained.sampler, retained.statistics),
            margins={self.name: self.margin},
            notes=[f"{name}: {note}" for note in measured.notes],
        )


class Templates:
    """A retention task's own words for the values of its column."""

    def __init__(self, task: Retention) -> None:
        self._task = task

    def plain(self, attribute: str, value: str) -> str:
        """The first template with the value's name."""
        return self.ensemble(attribute, value)[0].text

    def ensemble(self, attribute: str, value: str) -> list[Text]:
        """Every template with the value's name, all alike."""
        templates, name = self._task.templates, self._name(value)
        return [
            Text(template.replace("{}", name), 1.0 / len(templates), place, name)
            for place, template in enumerate(templates)
        ]

    def _name(self, value: str) -> str:
        return self._task.names.get(value, value.replace("_", " "))


def load(task: Retention, seed: int) -> Catalogue:
    """The task's items, thinned to its limit by a key.

    Raises:
        CatalogueError: no such source, split or column.
        ConfigError: the source names an environment variable that is not set, or `names` a value that no item has.
    """
    if "$" in (source := os.path.expandvars(task.source)):
        raise ConfigError(
            f"retention {task.name!r}: source {source!r} holds an environment variable that is not set; set it, or "
            "name the source in the suite"
        )
    catalogue = Catalogue.load(
        task.source,
        task.split,
        attributes=[task.attribute],
        product=task.product,
        image=task.image,
        revision=task.revision,
    )
    known = list(catalogue.counts(task.attribute))
    if strange := [value for value in task.names if value not in known]:
        faults = [f"no item has {task.attribute} {value!r}{near(value, known)}" for value in strange]
        raise ConfigError(f"retention {task.name!r}, names: {len(faults)} fault(s){listing(faults)}")
    if task.limit is None or len(catalogue) <= task.limit:
        return catalogue
    chosen = keyed.generator(seed, "retention", task.name).choice(len(catalogue), task.limit, replace=False)
    return catalogue.subset(np.sort(chosen))
