"""What every task of a suite is: a section of the suite's file that can be checked and measured.

    class Brightness(Task):
        task: str = "brightness"          # what the file calls it

        def measure(self, context: EvalContext) -> Measured:
            return Measured(cells=[Cell("brightness", ...)])

A task of the project stands in a module of its own beside this one and in the list of registry.py; one from elsewhere
calls `register`. Nothing else names tasks: the suite, the evaluation and the reports go by what stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.columns import nearest
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.sections import Count, Section
from clipadapt.statistics.galleries import RankingMetric


class Task(Section, ABC):
    """One kind of measurement; fields are the keys of its section."""

    task: str
    needs_texts: ClassVar[bool] = False
    """Whether it is left out, with a note, where a model has no text tower."""

    @property
    def by_wording(self) -> bool:
        """Whether it calls values by the prompts file, and so is measured in the file's and in held-out wording."""
        return False

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """What of the section does not fit a catalogue, before anything is encoded."""
        yield from ()

    def require_source(self, seed: int) -> None:
        """Opens what the task reads besides the catalogue, so that a fault shows before hours of work.

        Raises:
            ClipadaptError: it cannot be opened.
        """

    def row_tasks(self) -> tuple[str, ...]:
        """What its rows are called, for a gate that names them."""
        return (self.task,)

    def attributes_of(self, context: EvalContext) -> tuple[str, ...]:
        """Attributes whose unknown items are counted in the report."""
        return ()

    @abstractmethod
    def measure(self, context: EvalContext) -> Measured:
        """All its figures; what has nothing to measure is a note, not an error."""

    @classmethod
    def headlines(cls, context: EvalContext, measured: Measured, headline: Sequence[str]) -> Measured:
        """The aggregates that are quoted, from what all tasks of the suite measured; called once for each class."""
        return Measured()


class Ranking(Task):
    """What every task says that ranks a gallery."""

    k: tuple[Count, ...] = (1, 5, 10)
    queries: Count = 1000
    """Most queries; more are chosen by a key, the same for every model."""
    depth: Count = 10_000
    """How far down a ranking is read; average precision is exact where the gallery is no larger."""
    segments: tuple[str, ...] = ()
    """Columns whose values are measured apart as well; the gallery is then the segment."""
    metrics: tuple[RankingMetric, ...] = ("precision", "average_precision", "ndcg")

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """Segments that are no columns."""
        for name in self.segments:
            yield from no_column(catalogue, name, "segments")


def no_column(catalogue: Catalogue, name: str, key: str) -> Iterator[str]:
    """The fault of a column that is not there, if it is not."""
    if name not in catalogue.columns:
        yield f"{key}: no column {name!r}{near(name, catalogue.columns)}"


def no_values(catalogue: Catalogue, attribute: str, values: Sequence[str], key: str) -> Iterator[str]:
    """The faults of values that no item has, or of their column."""
    yield from (missing := list(no_column(catalogue, attribute, key)))
    if missing:
        return
    known = list(catalogue.counts(attribute))
    for value in values:
        if value not in known:
            yield f"{key}: no item has {attribute} {value!r}{near(value, known)}"


def near(name: str, known: Sequence[str]) -> str:
    """What may have been meant, as the end of a message."""
    similar = nearest(name, known)
    return f"; did you mean {similar!r}?" if similar else f"; there are: {', '.join(known[:10])}"
