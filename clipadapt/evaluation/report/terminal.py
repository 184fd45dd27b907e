"""The report as a table for a terminal: headlines and one line per attribute and task.

Nothing here decides what is better: `summary` does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from clipadapt.evaluation.details import Details
from clipadapt.evaluation.report.summary import Counterparts, findings, p_text, quoted, retention, subject, title
from clipadapt.evaluation.rows import Row, interval_text, points

_STYLES = {"better": "green", "worse": "red", "cannot be told": "yellow", "held": "green", "lost": "red"}


def table(config: Mapping[str, Any], rows: Sequence[Row], details: Details) -> Table:
    """Figures in percent with their intervals, differences in points."""
    found = findings(rows)
    grid = Table(title=escape(title(config, rows)), title_justify="left", caption_justify="left", pad_edge=False)
    grid.add_column("what", overflow="fold")
    if not found:
        return _alone(grid, rows)
    system, against = found[0].row.system, found[0].row.against or ""
    for heading in (against, system, "difference", "p", "items", ""):
        grid.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    counterpart = Counterparts(rows)
    held = {one.row: one.verdict for one in retention(rows, details.margins)}
    for finding in found:
        row, base = finding.row, counterpart(finding.row)
        verdict = held.get(row, finding.verdict)
        grid.add_row(
            escape(finding.subject),
            points(base.mean) if base else "–",
            points(row.mean),
            f"{points(row.delta, signed=True)} {interval_text(row.delta_low, row.delta_high, signed=True)}",
            p_text(row.p),
            str(row.n),
            f"[{_STYLES.get(verdict, 'yellow')}]{verdict}[/]",
        )
    grid.caption = "percent, differences in points with intervals clustered by product"
    return grid


def _alone(grid: Table, rows: Sequence[Row]) -> Table:
    """One system, nothing compared."""
    for heading in ("figure", "interval", "items", "products"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in quoted(rows):
        interval = interval_text(row.low, row.high)
        grid.add_row(escape(subject(row)), points(row.mean), interval, str(row.n), str(row.products))
    grid.caption = "percent, with intervals clustered by product"
    return grid
