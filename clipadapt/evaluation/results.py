"""Results: what one evaluation found, saved as results.json, report.md and report.html.

    results.headline("rare_balanced_accuracy").delta_low
    results.rows                       # evaluation.rows.Row, one figure each
    results.save("report")             # the three files, whole or not at all
    Results.load("report").rows        # from results.json alone

results.json holds {schema_version, config, rows}; config says which models, which split, which versions, what was left
out and which choices were fitted where. Nothing here measures.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from clipadapt.atomic import atomic_write
from clipadapt.errors import ConfigError
from clipadapt.evaluation.details import Details
from clipadapt.evaluation.report.markdown import markdown
from clipadapt.evaluation.report.page import page
from clipadapt.evaluation.report.terminal import table
from clipadapt.evaluation.rows import HEADLINE, SCHEMA_VERSION, Row, select

log = logging.getLogger(__name__)

RESULTS, MARKDOWN, PAGE = "results.json", "report.md", "report.html"


@dataclass(frozen=True)
class Results:
    """Rows with what they were measured on and how."""

    config: dict[str, Any]
    rows: tuple[Row, ...]
    details: Details = field(default_factory=Details)
    """For the reports; not kept in results.json, so empty after `load`."""

    def headline(self, metric: str) -> Row:
        """The row that is quoted for a metric; the comparison, where there is one.

        Raises:
            ConfigError: the suite measured no such headline.
        """
        rows = select(self.rows, task=HEADLINE, metric=metric)
        if not rows:
            known = ", ".join(dict.fromkeys(row.metric for row in select(self.rows, task=HEADLINE))) or "none"
            raise ConfigError(f"no headline {metric!r} was measured; measured: {known}")
        return next((row for row in rows if row.paired), rows[0])

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

    def to_json(self) -> str:
        """The content of results.json."""
        rows = [row.to_json() for row in self.rows]
        document = {"schema_version": SCHEMA_VERSION, "config": self.config, "rows": rows}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads results.json, or the folder that holds it.

        Raises:
            ConfigError: no such file, no JSON, or a form this version does not know.
        """
        file = Path(path) / RESULTS if Path(path).is_dir() else Path(path)
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: cannot be read as results.json: {error}; measure again") from error
        if not isinstance(document, Mapping) or document.get("schema_version") != SCHEMA_VERSION:
            raise ConfigError(f"{file}: not a results.json of schema version {SCHEMA_VERSION}; measure again")
        return cls(document["config"], tuple(Row.from_json(row) for row in document["rows"]))
