"""Tables for people and programs: brackets survive, points are points, JSON is whole."""

import dataclasses
import io
import json

from rich.console import Console

from clipadapt.metrics.intervals import Interval
from clipadapt.prompt_scoring import show
from clipadapt.prompt_scoring.table import AttributeTable, Table, TemplateRow, ValueRow
from clipadapt.prompt_scoring.weigh import Weighing

HALF = Interval(0.5, 0.4, 0.6)


def table(checked: float = 0.25) -> Table:
    values = (
        ValueRow("Checked", 12, 9, Interval(checked, 0.1, 0.6), Interval(0.1, 0.05, 0.15)),
        ValueRow("Solid", 40, 30, HALF, Interval(0.0, -0.1, 0.1)),
    )
    templates = (
        TemplateRow(3, "a[ {value}] thing", 1.0, Interval(-0.02, -0.03, -0.01)),
        TemplateRow(4, "{value}", 0.5, Interval(0.04, 0.01, 0.07)),
    )
    accuracy = Interval((checked + 0.5) / 2, 0.3, 0.45)
    one = AttributeTable("Pattern", 52, 39, accuracy, HALF, HALF, HALF, HALF, values, templates)
    return Table("p.yaml", "other.yaml", (one,), accuracy, HALF, HALF, ("Fit: too few",))


def printed(found: Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    for grid in show.grids(found, values=True):
        console.print(grid)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_prints_every_part():
    text = printed(table())
    for part in (
        "a[ {value}] thing",
        "hurts",
        "helps",
        "+4.0 [+1.0, +7.0]",
        "against other.yaml",
        "Solid",
    ):
        assert part in text
    assert text.index("{value}  ") < text.index("a[ {value}]")


def test_names_with_brackets_stay_as_they_are():
    """`[/x]` would end the program and `[o]` would vanish: rich takes brackets for markup."""
    row = ValueRow("[o] neck", 3, 3, HALF, HALF)
    one = dataclasses.replace(table().attributes[0], attribute="Neck [/x]", values=(row,))
    text = printed(dataclasses.replace(table(), prompts="sh[o]p.yaml", against="[/y].yaml", attributes=(one,)))
    for part in ("Neck [/x]", "[o] neck", "sh[o]p.yaml", "[/y].yaml", "a[ {value}] thing"):
        assert part in text


def test_says_what_moved():
    assert list(show.moved(table(), table())) == ["mean 37.5 → 37.5"]
    assert list(show.moved(table(), table(0.75))) == [
        "mean 37.5 → 62.5 (+25.0)",
        "Pattern 37.5 → 62.5 (+25.0): Checked (+50.0)",
    ]


def test_json_holds_the_whole_table():
    found = json.loads(json.dumps(show.document(table())))
    assert found["attributes"][0]["values"][0]["gain"] == {"mean": 0.1, "low": 0.05, "high": 0.15}
    assert found["attributes"][0]["templates"][1]["line"] == 4 and found["skipped"] == ["Fit: too few"]


def test_weights_are_shown_with_what_becomes_of_them():
    console = Console(file=io.StringIO(), width=200)
    gains = Interval(0.1, 0.05, 0.15), Interval(0.1, -0.05, 0.25), Interval(0.1, 0.0, 0.2)
    weighings = [Weighing("Fit", "labels", 9, 5, (1.0, 1.0), (1.5, 0.5), gain) for gain in gains]
    console.print(show.weighed(weighings))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("written") == 1 and text.count("left as it was") == 2 and "1.5  0.5" in text
