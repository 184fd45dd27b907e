"""Results: what one evaluation found, saved as results.json, report.md and report.html.

    results.headline("rare_balanced_accuracy").delta_low
    results.rows                       # statistics.rows.Row, one figure each
    results.save("report")             # the three files, whole or not at all
    Results.load("report").rows        # from results.json alone

Nothing here measures.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from clipadapt.atomic import atomic_write
from clipadapt.evaluation.details import Details
from clipadapt.evaluation.report.markdown import markdown
from clipadapt.evaluation.report.page import page
from clipadapt.evaluation.report.terminal import table
from clipadapt.statistics.results import RESULTS, MeasuredRows

MARKDOWN, PAGE = "report.md", "report.html"


@dataclass(frozen=True)
class Results(MeasuredRows):
    """Rows with what they were measured on and how, and what reports show beside them."""

    details: Details = field(default_factory=Details)
    """For the reports; not kept in results.json, so empty after `load`."""

    def table(self, width: int | None = None) -> Table:
        """The headlines and each attribute, for a terminal of so many characters; None: with every column."""
        return table(self.config, self.rows, self.details, width)

    def save(self, folder: str | Path) -> Path:
        """Writes results.json, report.md and report.html; returns the folder.

        Raises:
            StoreError: the folder cannot be written.
        """
        folder = Path(folder)
        written = {
            RESULTS: self.to_json(),
            MARKDOWN: markdown(self.config, self.rows, self.details),
            PAGE: page(self.config, self.rows, self.details),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in written.items():
            atomic_write(folder / name, text)
        return folder
