"""Retention: recognition on other people's pictures, to see what an adaptation has lost.

The source is a catalogue of its own, with its own products and split; texts come from the suite's templates, not from
the prompts file that training knew. What loss is too much is not decided here: the report and the gate hold the margin.
"""

import os
from collections.abc import Sequence

import numpy as np

from clipadapt import keyed
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ConfigError, listing
from clipadapt.evaluation.suite import Recognition, Retention, nearest
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.recognition import recognition
from clipadapt.prompts.wording import Text


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
        faults = [f"no item has {task.attribute} {value!r}{nearest(value, known)}" for value in strange]
        raise ConfigError(f"retention {task.name!r}, names: {len(faults)} fault(s){listing(faults)}")
    if task.limit is None or len(catalogue) <= task.limit:
        return catalogue
    chosen = keyed.generator(seed, "retention", task.name).choice(len(catalogue), task.limit, replace=False)
    return catalogue.subset(np.sort(chosen))


def retention(context: EvalContext, task: Retention) -> Measured:
    """Recognition of the task's column in a context that holds its items and words."""
    measured = recognition(context, Recognition(attributes=(task.attribute,)))
    name = f"retention:{task.name}"
    cells = [cell._replace(task=name) for cell in measured.cells]
    return Measured(cells, [], [f"{name}: {note}" for note in measured.notes])


def margins(tasks: Sequence[object]) -> dict[str, float]:
    """Retention set -> the loss that is still held to be none."""
    return {task.name: task.margin for task in tasks if isinstance(task, Retention)}
