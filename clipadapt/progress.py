"""Progress bars on a terminal; silence in logs, pipes, tests and every process but the first.

    for batch in track(batches, total=90, label="epoch 1", unit="images", each=64): ...

Bars go to stderr, so that results on stdout stay clean. Knows nothing of what is counted.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

_T = TypeVar("_T")


def is_main_process() -> bool:
    """Whether this process is the one that talks; launchers set RANK, in each process another."""
    return os.environ.get("RANK", "0") == "0"


def shown() -> bool:
    """Whether a bar would be seen by somebody."""
    return is_main_process() and sys.stderr.isatty()


class Bar:
    """A counter with a rate, a time left and a free text; does nothing when nobody would see it."""

    def __init__(self, progress: Progress | None, label: str, total: int | None, unit: str) -> None:
        self._progress = progress
        self._unit = unit
        self._task = progress.add_task(label, total=total, rate="", note="") if progress else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Counts `count` units done; `note` replaces the text at the end of the line."""
        if self._progress is None or self._task is None:
            return
        self._progress.advance(self._task, count)
        task = next(task for task in self._progress.tasks if task.id == self._task)
        speed = task.completed / task.elapsed if task.elapsed else 0.0
        note = note or task.fields["note"]
        self._progress.update(self._task, rate=f"{speed:,.1f} {self._unit}/s", note=note)


@contextlib.contextmanager
def bar(label: str, *, total: int | None = None, unit: str = "items") -> Iterator[Bar]:
    """A bar that is advanced by hand."""
    if not shown():
        yield Bar(None, label, total, unit)
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, label, total, unit)


def track(
    iterable: Iterable[_T], *, total: int | None = None, label: str = "", unit: str = "items", each: int = 1
) -> Iterator[_T]:
    """Yields from `iterable`, counting `each` units per element."""
    with bar(label, total=total, unit=unit) as shown_bar:
        for element in iterable:
            yield element
            shown_bar.advance(each)
