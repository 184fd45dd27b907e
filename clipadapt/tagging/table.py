"""The tagging report as a table for a terminal: per attribute what no person has to look at, and how often it is right.

Two lines to a cell, figure over interval, so that a comparison fits 80 columns. Nothing here measures.
"""

from rich.markup import escape
from rich.table import Table

from clipadapt.statistics.results import MeasuredRows
from clipadapt.statistics.rows import HEADLINE, Row, interval_text, points
from clipadapt.tagging.report import AUTOMATIC, AUTOMATIC_ITEMS, PRECISION, TASK, find_row

_STYLES = {"better": "green", "worse": "red", "unclear": "yellow"}


def table(results: MeasuredRows) -> Table:
    """Figures in percent with 95% intervals, differences in points."""
    systems = list(results.config["systems"])
    system, base = systems[0], systems[1] if len(systems) > 1 else None
    place = results.config["catalogue"]
    grid = Table(title_justify="left", caption_justify="left", pad_edge=False)
    precision = results.config["systems"][system]["precision"]
    grid.title = escape(f"tagged without a person at {precision:.0%} precision: {place['source']}, {place['split']}")
    grid.caption = "percent of what is labelled, with intervals clustered by product; right: of what was sure"
    for heading in ("what", "cells", *([base] if base else []), system, *(["saved"] if base else []), "right"):
        grid.add_column(escape(heading), justify="left" if heading == "what" else "right")
    for row in results.rows:
        if row.metric not in (AUTOMATIC, AUTOMATIC_ITEMS) or row.system != system:
            continue
        counterpart = base and find_row(
            results.rows, task=row.task, attribute=row.attribute, metric=row.metric, system=base
        )
        right = find_row(results.rows, task=row.task, attribute=row.attribute, metric=PRECISION, system=system)
        shown = [_figure(row.mean, row.low, row.high)]
        if isinstance(counterpart, Row):
            shown = [_figure(counterpart.mean, counterpart.low, counterpart.high), *shown, _saved(row)]
        sure = "–" if right is None or row.metric == AUTOMATIC_ITEMS else _figure(right.mean, right.low, right.high)
        grid.add_row(escape(_what(row)), str(row.n), *shown, sure)
    return grid


def _what(row: Row) -> str:
    if row.task == TASK:
        return row.attribute or ""
    assert row.task == HEADLINE, row.task
    return "all cells" if row.metric == AUTOMATIC else "whole items"


def _figure(mean: float, low: float | None, high: float | None) -> str:
    return f"{points(mean)}\n{escape(interval_text(low, high))}"


def _saved(row: Row) -> str:
    interval = escape(interval_text(row.delta_low, row.delta_high, signed=True))
    verdict = row.verdict()
    return f"[{_STYLES[verdict]}]{points(row.delta, signed=True)}\n{interval}[/]"
