"""report.html: one self-contained page, headline first.

The template `page.html.jinja` lays out, this module decides what goes in: which rows become bars, which values fit in
a confusion table, how rows are grouped. The page makes no request and runs no script; pictures are inline thumbnails.
Everything from a catalogue is escaped. Nothing here measures, and no sentence about certainty is written here.
"""

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import yaml
from jaxtyping import Int
from markupsafe import Markup

from clipadapt.data.bins import FEW, MEDIUM
from clipadapt.evaluation.details import Confusion, Details, Reliability
from clipadapt.evaluation.report import svg
from clipadapt.evaluation.report.summary import Counterparts, Finding, findings, retention, subject, title
from clipadapt.statistics.rows import HEADLINE, Row, Verdict, interval_text, metric_label, p_text, points, select

_VALUES_DRAWN = 14
"""Most values in one confusion table; the most frequent are kept."""
_CONFUSIONS_NAMED = 3


class Group(NamedTuple):
    """One figure of every system, as bars."""

    name: str
    row: Row
    bars: list[svg.Bar]
    chart: Markup


class Card(NamedTuple):
    """One quoted figure."""

    name: str
    row: Row
    base: Row | None
    chart: Markup | None


class Cell(NamedTuple):
    """Share of a value's items that were taken for one value."""

    share: float
    right: bool


class ConfusionLine(NamedTuple):
    value: str
    n: int
    cells: list[Cell]


class ConfusionTable(NamedTuple):
    system: str
    chosen: tuple[str, ...]
    lines: list[ConfusionLine]


class ConfusionBlock(NamedTuple):
    """One attribute: a table per system, and its costliest confusions in words."""

    attribute: str
    tables: list[ConfusionTable]
    largest: list[str]
    hidden: int


class Diagram(NamedTuple):
    """One reliability diagram."""

    attribute: str
    system: str
    error: float
    chart: Markup


class Line(NamedTuple):
    what: str
    row: Row
    base: Row | None


class RowTable(NamedTuple):
    """All rows of one task."""

    name: str
    lines: list[Line]


def page(config: Mapping[str, Any], rows: Sequence[Row], details: Details) -> str:
    """The whole page; `config` is that of results.json, fractions become percent here."""
    systems, counterpart = _systems(rows), Counterparts(rows)
    recognised = [row for row in rows if row.task == "recognition" and row.metric == "balanced_accuracy"]
    whole = select(recognised, bin="all", value=None)
    binned = [row for row in select(recognised, value=None) if row.bin in ("many", "rare")]
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=title(config, rows),
            config=config,
            config_text=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100),
            coverage=round(100 * config["suite"]["statistics"]["coverage"]),
            systems=systems,
            css={system: _css(system, systems) for system in systems},
            headline=[_card(row, counterpart) for row in _leading(select(rows, task=HEADLINE))],
            retention=retention(rows, details.margins),
            verdicts=_verdicts(rows),
            attributes=_groups(whole, systems, counterpart, lambda row: row.attribute or ""),
            bins=_groups(binned, systems, counterpart, lambda row: f"{row.attribute}: {row.bin} values"),
            scatter=_scatter(rows, details, systems),
            confusions=[_confusion(one, systems) for one in details.confusions],
            examples=details.examples,
            example_rule=details.example_rule,
            calibration=[_reliability(one, systems) for one in details.reliability],
            calibration_note=_calibration_note(details.reliability),
            missing=details.missing,
            broken=details.broken,
            notes=details.notes,
            tables=_tables(rows, counterpart),
        )
    )


@functools.cache
def environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clipadapt.evaluation.report", "."),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "points": points,
        "signed": lambda figure: points(figure, signed=True),
        "interval": lambda row: interval_text(row.low, row.high),
        "delta_interval": lambda row: interval_text(row.delta_low, row.delta_high, signed=True),
        "p_text": p_text,
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
    }
    return environment


def _verdicts(rows: Sequence[Row]) -> list[tuple[str, str, list[Finding]]]:
    """(heading, class, findings) for each verdict; empty where nothing is compared."""
    found = findings(rows)
    headings: tuple[tuple[str, str, Verdict], ...] = (
        ("Improved", "better", "better"),
        ("Got worse", "worse", "worse"),
        ("Cannot be told", "unsure", "cannot be told"),
    )
    return [(name, css, [one for one in found if one.verdict == verdict]) for name, css, verdict in headings if found]


def _systems(rows: Sequence[Row]) -> list[str]:
    """The one compared with first, as every chart draws them."""
    against = [row.against for row in rows if row.against is not None]
    return list(dict.fromkeys([*against, *(row.system for row in rows)]))


def _css(system: str, systems: Sequence[str]) -> str:
    return "s-model" if system == systems[-1] else "s-base"


def _leading(rows: Sequence[Row]) -> list[Row]:
    """Rows that compare, or all where nothing is compared."""
    return [row for row in rows if row.paired] or list(rows)


def _card(row: Row, counterpart: Counterparts) -> Card:
    chart = None
    if row.delta is not None:
        bounds = [abs(one) for one in (row.delta_low, row.delta, row.delta_high) if one is not None]
        css = {"better": "better", "worse": "worse"}.get(row.verdict(), "unsure")
        text = f"difference {points(row.delta, signed=True)} points, on an axis centred on zero"
        chart = svg.difference(row.delta_low, row.delta, row.delta_high, max(*bounds, 0.02) * 1.15, css, text)
    return Card(subject(row), row, counterpart(row), chart)


def _groups(
    some: Sequence[Row], systems: Sequence[str], counterpart: Counterparts, name: Callable[[Row], str]
) -> list[Group]:
    groups = []
    for row in _leading(some):
        both = [one for one in (counterpart(row), row) if one is not None]
        drawn = [svg.Bar(one.system, _css(one.system, systems), one.mean, one.low, one.high) for one in both]
        text = "; ".join(f"{one.system} {points(one.mean)} {interval_text(one.low, one.high)}" for one in both)
        groups.append(Group(name(row), row, drawn, svg.bars(drawn, f"{name(row)}: {text}")))
    return groups


def _scatter(rows: Sequence[Row], details: Details, systems: Sequence[str]) -> Markup | None:
    """Recall of every value against its training items, over all attributes."""
    dots = []
    for row in select(rows, task="recognition", metric="recall"):
        counts = details.train_counts.get(row.attribute or "")
        if counts is not None and row.value is not None:
            count = counts.get(row.value, 0)
            text = f"{row.attribute} {row.value}, {row.system}: {points(row.mean)}, {count} training items"
            dots.append(svg.Dot(float(count), row.mean, _css(row.system, systems), text))
    if not dots:
        return None
    label = f"recall of {len(dots) // max(len(systems), 1)} values against their number of training items"
    return svg.scatter(dots, "labelled training items", "recognised, %", (FEW + 0.5, MEDIUM + 0.5), label)


def _confusion(confusion: Confusion, systems: Sequence[str]) -> ConfusionBlock:
    shown = confusion.values[:_VALUES_DRAWN]
    totals = np.bincount(confusion.truth, minlength=len(confusion.values))[: len(shown)]
    tables = []
    for system in systems:
        if system in confusion.chosen:
            counts = confusion.table(system, len(shown))
            rows = zip(shown, totals.tolist(), counts, strict=True)
            tables.append(ConfusionTable(system, shown, [_confusion_line(*row, at) for at, row in enumerate(rows)]))
    lines = [
        f"{items} of {value} taken for {other}"
        for value, other, items in confusion.largest(tables[-1].system, _CONFUSIONS_NAMED)
    ]
    return ConfusionBlock(confusion.attribute, tables, lines, len(confusion.values) - len(shown))


def _confusion_line(value: str, total: int, counts: Int[np.ndarray, " chosen"], row: int) -> ConfusionLine:
    cells = [Cell(count / max(total, 1), row == column) for column, count in enumerate(counts.tolist())]
    return ConfusionLine(value, total, cells)


def _reliability(one: Reliability, systems: Sequence[str]) -> Diagram:
    dots = list(zip(one.confidence.tolist(), one.accuracy.tolist(), one.items.tolist(), strict=True))
    text = f"{one.attribute}, {one.system}: expected calibration error {points(one.error)} points"
    chart = svg.reliability(dots, _css(one.system, systems), text)
    return Diagram(one.attribute, one.system, one.error, chart)


def _calibration_note(some: Sequence[Reliability]) -> str:
    splits = sorted({one.fitted_on for one in some if one.fitted_on is not None})
    if splits:
        return f"Temperatures were fitted per attribute on {' and '.join(splits)}."
    return "Probabilities use each model's own logit scale; nothing was fitted."


def _tables(rows: Sequence[Row], counterpart: Counterparts) -> list[RowTable]:
    """Rows by task; each task's values apart from its aggregates."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.task + (", each value" if row.value is not None else ""), []).append(row)
    return [
        RowTable(name.replace("_", " "), [Line(_what(row), row, counterpart(row)) for row in _leading(some)])
        for name, some in grouped.items()
    ]


def _what(row: Row) -> str:
    about = " ".join(part for part in (row.attribute, row.value) if part)
    values = "" if row.bin == "all" or row.value is not None else f", {row.bin} values"
    return f"{about}{': ' if about else ''}{metric_label(row.metric, row.k)}{values}"
