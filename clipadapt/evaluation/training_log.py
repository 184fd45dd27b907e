"""How a run learnt, from its metrics.jsonl, in the form that the report draws.

    training_of(Run.open("runs/fashion")).figures["balanced_accuracy"]      # ((0.0, 0.12), (1.0, 0.19), ...)

Loss is thinned to a few hundred points, each the mean of its neighbours. Time is that of the steps, by the pictures per
second that they logged. Nothing here draws.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np

from clipadapt.evaluation.details import Training
from clipadapt.runs import Run

_POINTS = 300
_TUNE = "tune_"


def training_of(run: Run) -> Training | None:
    """Null where the run logged no step."""
    rows = run.metrics()
    steps = [row for row in rows if _number(row.get("loss")) is not None and "lr" in row]
    if not steps:
        return None
    batch, epochs = run.config.train.batch_size, int(steps[-1]["epoch"])
    each = max(int(steps[-1]["step"]) / epochs, 1.0)
    figures: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith(_TUNE) and (figure := _number(value)) is not None:
                figures.setdefault(name.removeprefix(_TUNE), []).append((row["step"] / each, figure))
    seconds = sum(_seconds(list(points), batch) for _, points in groupby(steps, key=lambda row: row["epoch"]))
    loss = _thinned([(row["step"] / each, row["loss"]) for row in steps])
    return Training(
        loss, run.config.eval.select_on, {name: tuple(points) for name, points in figures.items()},
        epochs, len(steps), len(steps) * batch, seconds,
    )  # fmt: skip


def _seconds(steps: Sequence[dict[str, Any]], batch: int) -> float:
    """Of one epoch, whose pictures per second are means since it began."""
    rate = _number(steps[-1].get("images_per_second"))
    return len(steps) * batch / rate if rate else 0.0


def _thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    parts = np.array_split(np.array(points, np.float64), min(_POINTS, len(points)))
    return tuple((float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts))


def _number(value: object) -> float | None:
    """NaN and infinities are logged as text."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
