"""The report as a table for a terminal: headlines and one line per attribute and task.

What a line is about stays readable at any width; on a narrow terminal columns that the others imply give way first, and
the caption says which. Nothing here decides what is better: `summary` does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from clipadapt.evaluation.details import Details
from clipadapt.evaluation.report.summary import Counterparts, findings, quoted, retention, subject, title
from clipadapt.statistics.rows import Row, interval_text, p_text, points

_STYLES = {"better": "green", "worse": "red", "unclear": "yellow", "held": "green", "lost": "red"}
_READABLE = 20
"""Characters that the first column keeps: its words are shorter, so they wrap but are not cut."""


class _Column(NamedTuple):
    """Figures under a heading, one per line."""

    heading: str
    cells: list[str]
    gives_way: int = 0
    """The higher, the sooner it is left out on a narrow terminal; 0: never."""


def table(config: Mapping[str, Any], rows: Sequence[Row], details: Details, width: int | None = None) -> Table:
    """Figures in percent with their intervals, differences in points.

    Args:
        width: characters of a line; columns are left out until the table fits. None: all columns.
    """
    compared = findings(rows)
    heading = escape(title(config, rows))
    if not compared:
        about, columns = _alone(rows)
        return _fitted(heading, about, columns, f"percent, with intervals clustered by product{_words(rows)}", width)
    counterpart = Counterparts(rows)
    retained = {one.row: one.verdict for one in retention(rows, details.margins)}
    verdicts = [retained.get(finding.row, finding.verdict) for finding in compared]
    shown = [finding.row for finding in compared]
    bases = [counterpart(row) for row in shown]
    columns = [
        _Column(escape(shown[0].against or ""), [points(base.mean) if base else "–" for base in bases], 1),
        _Column(escape(shown[0].system), [points(row.mean) for row in shown]),
        _Column("difference", [_difference(row) for row in shown]),
        _Column("p", [p_text(row.p) for row in shown], 2),
        _Column("items", [str(row.n) for row in shown], 3),
        _Column("", [f"[{_STYLES.get(verdict, 'yellow')}]{verdict}[/]" for verdict in verdicts]),
    ]
    caption = f"percent, differences in points with intervals clustered by product{_words(rows)}"
    return _fitted(heading, [finding.subject for finding in compared], columns, caption, width)


def _words(rows: Sequence[Row]) -> str:
    """What values were called, for the caption."""
    held_out = any(row.wording == "held_out" for row in rows)
    return "; values in held-out wording, the report has the file's own beside it" if held_out else ""


def _alone(rows: Sequence[Row]) -> tuple[list[str], list[_Column]]:
    """One system, nothing compared."""
    shown = quoted(rows)
    return [subject(row) for row in shown], [
        _Column("figure", [points(row.mean) for row in shown]),
        _Column("interval", [escape(interval_text(row.low, row.high)) for row in shown]),
        _Column("items", [str(row.n) for row in shown], 1),
        _Column("products", [str(row.products) for row in shown], 2),
    ]


def _difference(row: Row) -> str:
    return f"{points(row.delta, signed=True)} {escape(interval_text(row.delta_low, row.delta_high, signed=True))}"


def _fitted(heading: str, about: list[str], columns: list[_Column], caption: str, width: int | None) -> Table:
    """The table with as many of its columns as the width has room for."""
    kept, gone = list(columns), []
    while width is not None and _narrowest(_grid(about, kept)) > width:
        giving = [column for column in kept if column.gives_way]
        if not giving:
            break
        gone.append(max(giving, key=lambda column: column.gives_way))
        kept.remove(gone[-1])
    grid = _grid(about, kept)
    grid.title, grid.caption = heading, caption
    if gone:
        left_out = [column.heading for column in columns if column in gone]
        grid.caption = f"{caption}; no room here for {', '.join(left_out)}: see the report, or a wider terminal"
    return grid


def _grid(about: list[str], columns: Sequence[_Column]) -> Table:
    grid = Table(title_justify="left", caption_justify="left", pad_edge=False)
    longest = max(map(len, about), default=0)
    grid.add_column("what", overflow="fold", min_width=min(_READABLE, longest))
    for column in columns:
        widest = max(Text.from_markup(cell).cell_len for cell in (column.heading, *column.cells))
        justify = "right" if column.heading else "left"
        grid.add_column(column.heading, justify=justify, no_wrap=True, min_width=widest)
    for line, subject_ in enumerate(about):
        grid.add_row(escape(subject_), *(column.cells[line] for column in columns))
    return grid


def _narrowest(grid: Table) -> int:
    """Characters below which the table would cut something off."""
    roomy = Console(width=10_000)
    return Measurement.get(roomy, roomy.options, grid).minimum
