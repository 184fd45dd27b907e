"""How far, how fast, how long still: a bar on a terminal, a line a minute elsewhere, both on stderr.

    for picture in track(pictures, len(pictures), "encode", "images"): ...

    with bar(steps * batch, "train", "images") as shown:
        shown.advance(batch, f"loss {loss:.3f}")

Off a terminal (a log file, a job of a cluster) what takes less than a minute says nothing. Of several processes the
main one alone speaks. Nothing here is ever needed for a result: a silent bar does nothing at all.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from clipadapt.processes import is_main_process

T = TypeVar("T")
EVERY = 60.0
"""Seconds between lines off a terminal."""


@runtime_checkable
class Bar(Protocol):
    """A bar on the screen, or none."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """So much more is done; `note`, when not empty, replaces what stands at the end of the line."""
        ...


def visible() -> bool:
    """Whether bars are drawn: on a terminal, in the main process."""
    return sys.stderr.isatty() and is_main_process()


def track(iterable: Iterable[T], total: int | None = None, label: str = "", unit: str = "items") -> Iterator[T]:
    """The same elements, with a bar that counts them; `total` None takes the iterable's length, if it has one."""
    if total is None:
        total = len(iterable) if hasattr(iterable, "__len__") else None  # pyright: ignore[reportArgumentType]
    with bar(total, label, unit) as shown:
        for element in iterable:
            yield element
            shown.advance()


@contextlib.contextmanager
def bar(total: float | None, label: str, unit: str = "items") -> Iterator[Bar]:
    """A bar to move by hand; `total` None draws one without an end."""
    if not visible():
        yield _Lines(total, label, unit) if is_main_process() else _Silent()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Drawn(progress, progress.add_task(label, total=total, rate="", note=""), unit)


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Nothing is shown."""


class _Lines:
    """A line of text whenever EVERY seconds have passed since the last one."""

    def __init__(self, total: float | None, label: str, unit: str) -> None:
        self._total, self._label, self._unit = total, label, unit
        self._done, self._note = 0.0, ""
        self._began = self._spoke = time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Counts, and prints when it is time."""
        self._done, self._note = self._done + amount, note or self._note
        now = time.monotonic()
        if now - self._spoke >= EVERY:
            self._spoke = now
            print(self._line(now - self._began), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self._done / max(seconds, 1e-9)
        of = "" if self._total is None else f" of {self._total:,.0f}"
        parts = [f"{self._label}: {self._done:,.0f}{of} {self._unit}", f"{rate:,.1f} {self._unit}/s"]
        if self._total is not None and rate:
            left = max(0.0, self._total - self._done) / rate
            parts.append(f"about {_spoken(left)} left")
        return ", ".join([*parts, self._note] if self._note else parts)


def _spoken(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Drawn:
    def __init__(self, progress: Progress, task: TaskID, unit: str) -> None:
        self._progress, self._task, self._unit = progress, task, unit

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Moves the bar; the rate is rich's, over its recent samples."""
        self._progress.advance(self._task, amount)
        speed = self._progress.tasks[self._task].speed
        rate = f"{speed:,.1f} {self._unit}/s" if speed else ""
        if note:
            self._progress.update(self._task, rate=rate, note=note)
        else:
            self._progress.update(self._task, rate=rate)
