"""What is left for a person after tagging, first what a minute settles most of.

    work = queue(tagged, Seconds())
    work[0].item, work[0].cells, work[0].gain       # the item, its open cells with guesses, cells settled a minute

A cell is an item's attribute; it is open where tagging is unsure. Opening an item costs time once, then each of its
cells is confirmed where the guess is right and written anew where it is wrong, which the probability foretells. So
gain is open cells over expected time, and items with many cells and good guesses come first. A cell counts the same
whatever it says. Items whose pictures cannot be decoded have nothing to look at; they are counted, not queued.
Nothing here reads labels, so `spent`, which says what a queue would have cost, takes the truth from its caller.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from clipadapt.tagging.tag import Tagged

SCHEMA_VERSION = 1


class Seconds(NamedTuple):
    """What a person's work takes: assumed, not measured; a shop that has timed its own gives its own.

    A label that is marked right or wrong beside its picture is taken to cost the 2.4 s of the label audit.
    """

    open: float = 2.0
    """An item, until its picture is there and seen."""
    confirm: float = 2.4
    """A guess that is right."""
    enter: float = 7.0
    """A value that is chosen anew, a wrong guess or none having been read before."""


class OpenCell(NamedTuple):
    """An attribute of an item that a person has to look at."""

    attribute: str
    guess: str | None
    """None: nothing is predicted."""
    probability: float
    """Of the guess; 0 without one."""


class Task(NamedTuple):
    """An item with open cells."""

    row: int
    item: str
    product: str
    cells: tuple[OpenCell, ...]
    seconds: float
    """Expected."""

    @property
    def gain(self) -> float:
        """Cells settled a minute."""
        return 60 * len(self.cells) / self.seconds


def queue(tagged: Tagged, seconds: Seconds) -> list[Task]:
    """Items with open cells, by what a minute settles; catalogue order among equals."""
    tasks = []
    for row, item in enumerate(tagged.catalogue.ids):
        cells = tuple(
            OpenCell(name, column.values[row], _probability(float(column.probability[row]), column.values[row]))
            for name, column in tagged.columns.items()
            if column.states[row] == "unsure"
        )
        if cells and row not in tagged.faults:
            expected = seconds.open + sum(
                one.probability * seconds.confirm + (1 - one.probability) * seconds.enter for one in cells
            )
            tasks.append(Task(row, item, str(tagged.catalogue.products[row]), cells, expected))
    return sorted(tasks, key=lambda one: -one.gain)


def without_model(cells: int, items: int, seconds: Seconds) -> float:
    """Seconds of entering every cell with no guess at hand."""
    return items * seconds.open + cells * seconds.enter


class Spent(NamedTuple):
    """A queue worked off: after each item, in its order."""

    seconds: Float[np.ndarray, " tasks"]
    cells: Int[np.ndarray, " tasks"]
    """Settled so far."""


def spent(tasks: Sequence[Task], right: Mapping[str, Bool[np.ndarray, " n"]], seconds: Seconds) -> Spent:
    """What the tasks take, and settle, where it is known which guesses are right.

    Args:
        right: attribute -> per row of the catalogue; attributes that are not in it count as not asked for.
    """
    each, cells = [], []
    for task in tasks:
        asked = [one for one in task.cells if one.attribute in right]
        costs = [seconds.confirm if right[one.attribute][task.row] else seconds.enter for one in asked]
        each.append(seconds.open + sum(costs) if asked else 0.0)
        cells.append(len(asked))
    return Spent(np.cumsum(each), np.cumsum(cells).astype(np.int64))


def summary(tagged: Tagged, tasks: Sequence[Task], seconds: Seconds) -> dict[str, Any]:
    """Counts and times of a queue."""
    items = len(tagged.catalogue) - len(tagged.faults)
    cells, left = items * len(tagged.columns), sum(len(one.cells) for one in tasks)
    return {
        "items": items,
        "cells": cells,
        "items_in_queue": len(tasks),
        "cells_in_queue": left,
        "share_of_cells_done": 1 - left / cells if cells else None,
        "expected_minutes": sum(one.seconds for one in tasks) / 60,
        "minutes_without_model": without_model(cells, items, seconds) / 60,
        "broken": len(tagged.faults),
        "seconds": seconds._asdict(),
    }


def as_csv(tagged: Tagged, tasks: Sequence[Task]) -> str:
    """A line per item: place, id, product, gain, minutes so far, then each attribute's guess and its probability.

    Cells that are not open are empty.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = list(tagged.columns)
    heads = [head for name in names for head in (name, f"{name} probability")]
    writer.writerow(["place", "id", "product", "cells_a_minute", "minutes_so_far", "open_cells", *heads])
    for place, (task, minutes) in enumerate(zip(tasks, _minutes(tasks), strict=True), 1):
        by_name = {one.attribute: (one.guess or "", f"{one.probability:.4f}") for one in task.cells}
        cells = [text for name in names for text in by_name.get(name, ("", ""))]
        figures = (f"{task.gain:.3f}", f"{minutes:.2f}", len(task.cells))
        writer.writerow([place, task.item, task.product, *figures, *cells])
    return file.getvalue()


def as_json(
    tagged: Tagged, tasks: Sequence[Task], seconds: Seconds, precision: float, saved: Mapping[str, Any] | None
) -> str:
    """The queue with its summary.

    Args:
        precision: at which cells count as done.
        saved: what the report says of the share of cells done, against a base where there is one; null: no labels.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "precision": precision,
        "summary": summary(tagged, tasks, seconds),
        "measured": saved,
        "tasks": [
            {"id": task.item, "product": task.product, "cells_a_minute": task.gain, "minutes_so_far": minutes,
             "cells": [one._asdict() for one in task.cells]}
            for task, minutes in zip(tasks, _minutes(tasks), strict=True)
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _minutes(tasks: Sequence[Task]) -> list[float]:
    return (np.cumsum([task.seconds for task in tasks]) / 60).tolist()


def _probability(probability: float, guess: str | None) -> float:
    return 0.0 if guess is None or np.isnan(probability) else probability
