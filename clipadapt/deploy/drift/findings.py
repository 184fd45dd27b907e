"""Everything that one run of `clipadapt drift` compared, and what of it alarms.

    findings = Findings(level=0.05, items=report, rates=(rates,), moved={"new": shift})
    findings.alarms         # a sentence for each part that alarms; none: exit code 0

The level is shared out among the parts that test anything, so that it is the chance of any false alarm in the whole.
Nothing here measures.
"""

from collections.abc import Mapping
from typing import NamedTuple

from clipadapt.deploy.drift.measure import Report
from clipadapt.deploy.drift.rates import Rates
from clipadapt.deploy.drift.shift import Shift


class Findings(NamedTuple):
    """The parts that were asked for."""

    level: float
    """Chance of any false alarm."""
    items: Report | None = None
    queries: Report | None = None
    """Of words people typed; a product is a user."""
    rates: tuple[Rates, ...] = ()
    moved: Mapping[str, Shift] = {}
    """How far an adaptation moves "new" items and the "reference"."""
    least_cosine: float | None = None
    """Of new items between base and adapted; below it they alarm."""

    @property
    def reports(self) -> Mapping[str, Report]:
        """Those of vectors, by what they are of."""
        both = {"items": self.items, "queries": self.queries}
        return {of: report for of, report in both.items() if report is not None}

    @property
    def moved_too_far(self) -> bool:
        """Whether the whole interval of new items is below what was named."""
        new = self.moved.get("new")
        return self.least_cosine is not None and new is not None and new.high < self.least_cosine

    @property
    def alarms(self) -> tuple[str, ...]:
        """Sentences of what alarms."""
        found = [f"{of}: {report.sentence()}" for of, report in self.reports.items() if report.alarmed]
        found += [f"{rates.of}: {rates.sentence()}" for rates in self.rates if rates.alarmed]
        if self.moved_too_far:
            found.append(f"{self.moved['new'].sentence('new')}, which is below {self.least_cosine:g}")
        return tuple(found)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result of every part in words."""
        return (
            *(f"{of}: {report.sentence()}" for of, report in self.reports.items()),
            *(f"{rates.of}: {rates.sentence()}" for rates in self.rates),
            *(one.sentence(whose) for whose, one in self.moved.items()),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be compared, and why; each once."""
        every = [note for part in (*self.reports.values(), *self.rates) for note in part.notes]
        return tuple(dict.fromkeys(every))
