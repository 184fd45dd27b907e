"""A table of scores as a person reads it in a terminal, and as a program reads it in JSON.

Percent and points are made here and nowhere else. Nothing here computes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table as Grid

from clipadapt.metrics.intervals import Interval
from clipadapt.prompt_scoring.distance import AttributeDistances, Distance
from clipadapt.prompt_scoring.table import AttributeTable, Table, verdict
from clipadapt.prompt_scoring.weigh import Weighing
from clipadapt.statistics.rows import interval_text, points

STILL = 0.0005
"""Changes of a figure below half a tenth of a point are not shown as moves."""


def grids(table: Table, *, values: bool) -> Iterator[Grid]:
    """The attributes, then the templates of each, then the values where they are asked for."""
    yield _attributes(table)
    for one in table.attributes:
        if one.templates:
            yield _templates(one)
    for one in table.attributes if values else ():
        yield _values(one, against=table.against is not None)


def _attributes(table: Table) -> Grid:
    grid = Grid(title=escape(f"{table.prompts}: balanced accuracy, in percent"))
    headings = ["attribute", "items", "products", "values", "accuracy"]
    headings += [escape(f"against {table.against}")] if table.against else []
    for place, heading in enumerate([*headings, "against random words"]):
        grid.add_column(heading, justify="left" if not place else "right")
    for one in table.attributes:
        cells = [escape(one.attribute), str(one.items), str(one.products), str(len(one.values)), _figure(one.accuracy)]
        cells += [_change(one.gain)] if table.against else []
        grid.add_row(*cells, _change(one.over_random))
    cells = ["mean", "", "", "", _figure(table.accuracy), *([_change(table.gain)] if table.against else [])]
    grid.add_section()
    grid.add_row(*cells, _change(table.over_random))
    return grid


def _templates(one: AttributeTable) -> Grid:
    grid = Grid(
        title=f"{escape(one.attribute)}: what each template adds to the others, in points", title_justify="left"
    )
    for heading in ("line", "weight", "adds", "", "template"):
        grid.add_column(heading, justify="right" if heading in ("line", "weight", "adds") else "left")
    for row in sorted(one.templates, key=lambda row: -row.effect.mean):
        grid.add_row(str(row.line), f"{row.weight:g}", _change(row.effect), _verdict(row.effect), escape(row.text))
    return grid


def _values(one: AttributeTable, *, against: bool) -> Grid:
    grid = Grid(title=f"{escape(one.attribute)}: items recognised per value, in percent", title_justify="left")
    headings = ["value", "items", "products", "recognised", *(["change"] if against else [])]
    for place, heading in enumerate(headings):
        grid.add_column(heading, justify="left" if not place else "right")
    for row in sorted(one.values, key=lambda row: -row.items):
        cells = [escape(row.value), str(row.items), str(row.products), _figure(row.accuracy)]
        grid.add_row(*cells, *([_change(row.gain)] if against else []))
    return grid


def distance_grids(found: Sequence[AttributeDistances]) -> Iterator[Grid]:
    """How far each template lies from what the model was trained with, those that lose most last."""
    for one in found:
        title = (
            f"{escape(one.attribute)}: each template alone, against the texts of the training ({_figure(one.accuracy)})"
        )
        grid = Grid(title=title, title_justify="left")
        for heading in ("line", "accuracy", "gap", "cosine", "", "template"):
            grid.add_column(heading, justify="left" if heading in ("", "template") else "right")
        for row in sorted(one.templates, key=lambda row: row.gap.mean):
            grid.add_row(str(row.line), *_distance(row), "trained" if row.trained else "new", escape(row.text))
        grid.add_section()
        grid.add_row("", *_distance(one.held_out), "", "(wordings that training never uses)")
        yield grid


def _distance(row: Distance) -> tuple[str, str, str]:
    return _figure(row.accuracy), _change(row.gap), f"{row.cosine:.3f}"


def moved(before: Table, after: Table) -> Iterator[str]:
    """What an edit did, a line each: the mean, attributes, and the values that moved most."""
    yield f"mean {points(before.accuracy.mean)} → {points(after.accuracy.mean)}{_by(before.accuracy, after.accuracy)}"
    old = {one.attribute: one for one in before.attributes}
    for one in after.attributes:
        last = old.get(one.attribute)
        if last is None or last.values == one.values:
            continue
        change = f"{points(last.accuracy.mean)} → {points(one.accuracy.mean)}{_by(last.accuracy, one.accuracy)}"
        was = {row.value: row.accuracy for row in last.values}
        pairs = [(row, was[row.value]) for row in one.values if row.value in was]
        most = sorted(pairs, key=lambda pair: -abs(pair[0].accuracy.mean - pair[1].mean))[:3]
        shown = ", ".join(f"{row.value}{_by(then, row.accuracy)}" for row, then in most if _by(then, row.accuracy))
        yield f"{one.attribute} {change}" + (f": {shown}" if shown else "")


def weighed(found: Sequence[Weighing]) -> Grid:
    """Fitted weights and what they gain on pictures they were not fitted on."""
    grid = Grid(title="template weights and their gain in balanced accuracy out of fold, in points")
    for heading in ("attribute", "items", "products", "before", "fitted", "gain", ""):
        grid.add_column(heading, justify="left" if heading in ("attribute", "before", "fitted", "") else "right")
    for one in found:
        weights = ("  ".join(f"{weight:g}" for weight in group) for group in (one.before, one.after))
        outcome = "written" if one.claimed else "no clear gain: left as it was"
        grid.add_row(escape(one.attribute), str(one.items), str(one.products), *weights, _change(one.gain), outcome)
    return grid


def document(table: Table, distances: Sequence[AttributeDistances] | None = None) -> dict[str, Any]:
    """The table for JSON; figures are fractions, differences have mean, low and high.

    With distances from the training under "distances", where the model is a run.
    """
    known = {} if distances is None else {"distances": _plain_data(tuple(distances))}
    return _plain_data(table) | known


def _plain_data(thing: Any) -> Any:
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: _plain_data(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    if isinstance(thing, tuple) and hasattr(thing, "_asdict"):
        return {name: _plain_data(part) for name, part in thing._asdict().items()}  # pyright: ignore[reportAttributeAccessIssue]
    return [_plain_data(part) for part in thing] if isinstance(thing, tuple) else thing


def _figure(figure: Interval) -> str:
    return f"{points(figure.mean)} {interval_text(figure.low, figure.high)}"


def _change(change: Interval | None) -> str:
    if change is None:
        return "–"
    return f"{points(change.mean, signed=True)} {interval_text(change.low, change.high, signed=True)}"


def _verdict(change: Interval) -> str:
    colours = {"helps": "[green]helps[/]", "hurts": "[red]hurts[/]"}
    return colours.get(verdict(change), "")


def _by(before: Interval, after: Interval) -> str:
    change = after.mean - before.mean
    return f" ({points(change, signed=True)})" if abs(change) >= STILL else ""
