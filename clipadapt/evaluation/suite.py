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

from pydantic import field_validator

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ClipadaptError, ConfigError, listing
from clipadapt.evaluation.tasks.registry import AnyTask
from clipadapt.evaluation.tasks.task import no_column
from clipadapt.recognition.accuracy import MIN_ITEMS
from clipadapt.sections import Count, FileSection
from clipadapt.statistics.settings import Statistics


class Suite(FileSection):
    """A whole file."""

    name: str
    about: str = ""
    """One sentence for the report."""
    headline: tuple[str, ...] | None = None
    """Attributes whose mean is quoted; null: the run's own choice, else all exclusive attributes."""
    min_items: Count = MIN_ITEMS
    """Values with fewer items in the split are neither measured nor offered as a choice."""
    statistics: Statistics = Statistics()
    tasks: tuple[AnyTask, ...]

    @field_validator("tasks", mode="before")
    @classmethod
    def _some(cls, tasks: object) -> object:
        # Before the tasks are read: pydantic's min_length calls a list empty whose tasks are all at fault.
        if isinstance(tasks, list | tuple) and not tasks:
            raise ValueError("measures nothing; name one task or more")
        return tasks

    def check(self, catalogue: Catalogue) -> None:
        """Holds every name of the suite against a catalogue.

        Raises:
            ConfigError: attributes, columns or values that the catalogue does not have; all of them at once.
        """
        faults = [fault for name in self.headline or () for fault in no_column(catalogue, name, "headline")]
        for number, task in enumerate(self.tasks):
            faults += [f"tasks.{number} ({task.task}): {fault}" for fault in task.faults(catalogue)]
        if faults:
            raise ConfigError(
                f"suite {self.name!r} does not fit {catalogue.source}, split {catalogue.split!r}: "
                f"{len(faults)} fault(s){listing(faults)}"
            )

    def require_sources(self) -> None:
        """Opens what tasks read besides the catalogue.

        Raises:
            ClipadaptError: something cannot be opened; ConfigError for several such faults at once.
        """
        faults: list[ClipadaptError] = []
        for task in self.tasks:
            try:
                task.require_source(self.statistics.seed)
            except ClipadaptError as error:
                faults.append(error)
        if len(faults) == 1:
            raise faults[0]
        if faults:
            lines = listing([str(fault) for fault in faults])
            raise ConfigError(f"suite {self.name!r}: {len(faults)} sources cannot be opened{lines}")
