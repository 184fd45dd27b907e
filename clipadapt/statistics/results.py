"""Rows with what they were measured on: the content of results.json, whatever measured it.

    results = MeasuredRows(config, rows)
    results.headline("rare_balanced_accuracy").delta_low
    MeasuredRows.load("report").rows          # from results.json alone

results.json holds {schema_version, config, rows}; config says which models, which split, which versions, what was left
out and which choices were fitted where. Nothing here measures or lays out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clipadapt.errors import ConfigError
from clipadapt.statistics.rows import HEADLINE, SCHEMA_VERSION, Row, in_quoted_wording, select

RESULTS = "results.json"


@dataclass(frozen=True)
class MeasuredRows:
    """Rows with what they were measured on and how."""

    config: dict[str, Any]
    rows: tuple[Row, ...]

    def headline(self, metric: str) -> Row:
        """The row that is quoted for a metric, in held-out wording where that was measured; the comparison, if any.

        Raises:
            ConfigError: the suite measured no such headline.
        """
        rows = in_quoted_wording(select(self.rows, task=HEADLINE, metric=metric))
        if not rows:
            known = ", ".join(dict.fromkeys(row.metric for row in select(self.rows, task=HEADLINE))) or "none"
            raise ConfigError(f"no headline {metric!r} was measured; measured: {known}")
        return next((row for row in rows if row.paired), rows[0])

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
