"""report.html: one self-contained page, headline first.

The template `page.html.jinja` lays out, this module decides what goes in: which rows become bars, which values fit in
a confusion table, how rows are grouped. The page makes no request and its one script sorts tables; pictures are inline
thumbnails.
Everything from a catalogue is escaped. Nothing here measures, and no sentence about certainty is written here.
"""

import base64
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import yaml
from jaxtyping import Float, Int
from markupsafe import Markup

from clipadapt.data.bins import FEW, MEDIUM
from clipadapt.evaluation.details import Confusion, Details, Reliability, Training
from clipadapt.evaluation.report import svg
from clipadapt.evaluation.report.pictures import fitting
from clipadapt.evaluation.report.summary import (
    Counterparts,
    Finding,
    findings,
    plain_sentence,
    retention,
    subject,
    systems_of,
    title,
)
from clipadapt.evaluation.report.wordings import NOTE, Pair, wording_lines
from clipadapt.statistics.rows import (
    HEADLINE,
    QUOTED,
    WORDINGS,
    FileWording,
    Row,
    Verdict,
    in_quoted_wording,
    interval_text,
    metric_label,
    p_text,
    points,
    select,
)

_VALUES_DRAWN = 14
"""Most values in one confusion table; the most frequent are kept."""
_CONFUSIONS_NAMED = 3
_SECTIONS = {
    "headline": "Headline",
    "wordings": "Wordings",
    "attributes": "Attributes",
    "bins": "Frequent and rare values",
    "confusions": "Confusions",
    "flips": "Pictures that changed sides",
    "examples": "Searches side by side",
    "calibration": "Calibration",
    "training": "Training",
    "advice": "What to try next",
    "left_out": "Left out",
    "everything": "Everything measured",
}
"""Anchor -> heading, in the page's order."""
_SHOWN = 12
"""Findings that a list shows before the rest is folded away."""


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
    words: Pair | None
    """Where it was measured in the file's wording too."""


class Cell(NamedTuple):
    """Share of a value's items that were taken for one value, or how much that share grew."""

    share: float
    right: bool
    css: str = ""


class ConfusionLine(NamedTuple):
    value: str
    n: int
    cells: list[Cell]


class ConfusionTable(NamedTuple):
    """Of one system, or the difference of the two."""

    heading: str
    chosen: tuple[str, ...]
    lines: list[ConfusionLine]
    difference: bool = False


class ConfusionBlock(NamedTuple):
    """One attribute: a table per system and their difference, and its costliest confusions in words."""

    attribute: str
    tables: list[ConfusionTable]
    largest: list[str]
    hidden: int


class VerdictList(NamedTuple):
    """Findings of one verdict."""

    heading: str
    css: str
    shown: list[Finding]
    folded: list[Finding]


class TrainingBlock(NamedTuple):
    """How the run learnt."""

    about: str
    charts: list[tuple[Markup, str]]
    """(chart, caption)."""


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
    systems, counterpart, in_file = systems_of(rows), Counterparts(rows), FileWording(rows)
    shown = in_quoted_wording(rows)
    recognised = [row for row in shown if row.task == "recognition" and row.metric == "balanced_accuracy"]
    whole = select(recognised, bin="all", value=None)
    binned = [row for row in select(recognised, value=None) if row.bin in ("many", "rare")]
    sections = {
        "wordings": wording_lines(rows, systems),
        "attributes": _groups(whole, systems, counterpart, lambda row: row.attribute or ""),
        "bins": _groups(binned, systems, counterpart, lambda row: f"{row.attribute}: {row.bin} values"),
        "confusions": [_confusion(one, systems) for one in details.confusions],
        "flips": fitting(details.flips, details.examples),
        "examples": details.examples,
        "calibration": [_reliability(one, systems) for one in details.reliability],
        "training": None if details.training is None else _training(details.training),
        "advice": details.advice,
        "left_out": (*details.missing, *details.broken, *details.notes),
    }
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            **sections,
            title=title(config, rows),
            sentence=plain_sentence(config, rows, details.margins),
            contents=[(anchor, name) for anchor, name in _SECTIONS.items() if sections.get(anchor, True)],
            config=config,
            config_text=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100),
            coverage=round(100 * config["suite"]["statistics"]["coverage"]),
            systems=systems,
            css={system: _css(system, systems) for system in systems},
            headline=[_card(row, counterpart, in_file) for row in _leading(select(shown, task=HEADLINE))],
            wordings_note=NOTE,
            retention=retention(rows, details.margins),
            verdicts=_verdicts(rows),
            scatter=_scatter(shown, details, systems),
            flip_rule=details.flip_rule,
            example_rule=details.example_rule,
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
        "change": lambda share: f"{round(100 * share):+d}".replace("-", "−") if round(100 * share) else "",
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
    }
    return environment


def _verdicts(rows: Sequence[Row]) -> list[VerdictList]:
    """One for each verdict, what got worse first; none where nothing is compared."""
    found = findings(rows)
    headings: tuple[tuple[str, str, Verdict], ...] = (
        ("Got worse", "worse", "worse"),
        ("Improved", "better", "better"),
        ("Unclear", "unsure", "unclear"),
    )
    lists = []
    for name, css, verdict in headings if found else ():
        matching = [one for one in found if one.verdict == verdict]
        lists.append(VerdictList(name, css, matching[:_SHOWN], matching[_SHOWN:]))
    return lists


def _css(system: str, systems: Sequence[str]) -> str:
    return "s-model" if system == systems[-1] else "s-base"


def _leading(rows: Sequence[Row]) -> list[Row]:
    """Rows that compare, or all where nothing is compared."""
    return [row for row in rows if row.paired] or list(rows)


def _card(row: Row, counterpart: Counterparts, in_file: FileWording) -> Card:
    chart = None
    if row.delta is not None:
        bounds = [abs(one) for one in (row.delta_low, row.delta, row.delta_high) if one is not None]
        css = {"better": "better", "worse": "worse"}.get(row.verdict(), "unsure")
        text = f"difference {points(row.delta, signed=True)} points, on an axis centred on zero"
        chart = svg.difference(row.delta_low, row.delta, row.delta_high, max(*bounds, 0.02) * 1.15, css, text)
    file = in_file(row)
    return Card(subject(row), row, counterpart(row), chart, None if file is None else Pair(row, file))


def _groups(
    some: Sequence[Row], systems: Sequence[str], counterpart: Counterparts, name: Callable[[Row], str]
) -> list[Group]:
    groups = []
    for row in _leading(some):
        both = [one for one in (counterpart(row), row) if one is not None]
        bars = [svg.Bar(one.system, _css(one.system, systems), one.mean, one.low, one.high) for one in both]
        text = "; ".join(f"{one.system} {points(one.mean)} {interval_text(one.low, one.high)}" for one in both)
        groups.append(Group(name(row), row, bars, svg.bars(bars, f"{name(row)}: {text}")))
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
    names = [system for system in systems if system in confusion.chosen]
    shares = [confusion.table(name, len(shown)) / np.maximum(totals, 1)[:, None] for name in names]
    tables = [
        ConfusionTable(name, shown, _confusion_lines(shown, totals, share))
        for name, share in zip(names, shares, strict=True)
    ]
    if len(tables) == 2:
        lines = _confusion_lines(shown, totals, shares[1] - shares[0])
        tables.append(ConfusionTable(f"{names[1]} minus {names[0]}, points", shown, lines, difference=True))
    largest = [
        f"{items} of {value} taken for {other}"
        for value, other, items in confusion.largest(names[-1], _CONFUSIONS_NAMED)
    ]
    return ConfusionBlock(confusion.attribute, tables, largest, len(confusion.values) - len(shown))


def _confusion_lines(
    values: Sequence[str], totals: Int[np.ndarray, " shown"], shares: Float[np.ndarray, "shown shown"]
) -> list[ConfusionLine]:
    """A share that grew is good on the diagonal and bad beside it."""
    lines = []
    for row, (value, total, line) in enumerate(zip(values, totals.tolist(), shares.tolist(), strict=True)):
        cells = [
            Cell(share, row == at, "up" if (share > 0) == (row == at) else "down") for at, share in enumerate(line)
        ]
        lines.append(ConfusionLine(value, total, cells))
    return lines


def _reliability(one: Reliability, systems: Sequence[str]) -> Diagram:
    dots = list(zip(one.confidence.tolist(), one.accuracy.tolist(), one.items.tolist(), strict=True))
    text = f"{one.attribute}, {one.system}: expected calibration error {points(one.error)} points"
    chart = svg.reliability(dots, _css(one.system, systems), text)
    return Diagram(one.attribute, one.system, one.error, chart)


def _training(training: Training) -> TrainingBlock:
    rate = training.images / training.seconds if training.seconds else 0.0
    about = (
        f"{training.epochs} epochs, {training.steps:,} steps, {training.images:,} pictures "
        f"in {_duration(training.seconds)} "
        f"({rate:,.0f} pictures a second; encoding, text warm-up and measuring come on top)."
    )
    loss = svg.line_chart([svg.Series("s-base", training.loss)], "epochs", "loss", "training loss by epoch")
    charts = [(loss, "Training loss; each point is the mean of neighbouring steps.")]
    chosen = training.figures.get(training.chosen_by)
    if chosen and training.chosen_by != "loss":
        name = metric_label(training.chosen_by)
        best = max(chosen, key=lambda point: point[1])
        text = f"{name} on tune by epoch, in percent; the best is {points(best[1])} after {best[0]:g} epochs"
        lines = [svg.Series("s-model", chosen, marked=True)]
        drawing = svg.line_chart(lines, "epochs", f"{name}, %", text, percent=True)
        charts.append((drawing, f"{name[0].upper()}{name[1:]} on tune, by which the epoch is chosen."))
    return TrainingBlock(about, charts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _calibration_note(some: Sequence[Reliability]) -> str:
    splits = sorted({one.fitted_on for one in some if one.fitted_on is not None})
    if splits:
        return f"Temperatures, and how frequent values are, were taken per attribute from {' and '.join(splits)}."
    return "Probabilities use each model's own logit scale; nothing was fitted."


def _tables(rows: Sequence[Row], counterpart: Counterparts) -> list[RowTable]:
    """Rows by task; each task's values apart from its aggregates, and the file's wording apart from the quoted one."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        words = f", in {WORDINGS[row.wording]}" if row.wording not in (None, QUOTED) else ""
        grouped.setdefault(row.task + (", each value" if row.value is not None else "") + words, []).append(row)
    return [
        RowTable(name.replace("_", " "), [Line(_what(row), row, counterpart(row)) for row in _leading(some)])
        for name, some in grouped.items()
    ]


def _what(row: Row) -> str:
    about = " ".join(part for part in (row.attribute, row.value) if part)
    values = "" if row.bin == "all" or row.value is not None else f", {row.bin} values"
    return f"{about}{': ' if about else ''}{metric_label(row.metric, row.k)}{values}"
