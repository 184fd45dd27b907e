"""Figures in held-out wording beside those in the prompts file's own: how far a gain holds in anybody's words.

The gap is the file's figure minus the held-out one: what a customer who types other words does not get. Nothing here
decides what is better or lays out.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clipadapt.evaluation.report.summary import quoted, subject
from clipadapt.statistics.rows import FileWording, Row, about

NOTE = (
    "Held out: values in the table's own spelling, in wordings that training never uses; that is what is quoted. "
    "File: the prompts file's names in its templates. The gap is the file's figure minus the held-out one, in points."
)


class Pair(NamedTuple):
    """One figure of one system in both wordings."""

    held_out: Row
    file: Row

    @property
    def gap(self) -> float:
        """File minus held out."""
        return self.file.mean - self.held_out.mean


class WordingLine(NamedTuple):
    """What was measured, and each system's figures, the one compared with first."""

    subject: str
    pairs: tuple[Pair, ...]


def wording_lines(rows: Sequence[Row], systems: Sequence[str]) -> list[WordingLine]:
    """Headlines, then one figure per attribute and task; empty where nothing was measured in two wordings."""
    in_file = FileWording(rows)
    lines: dict[tuple[object, ...], dict[str, Pair]] = {}
    for row in quoted(rows):
        if (file := in_file(row)) is not None:
            lines.setdefault(about(row), {})[row.system] = Pair(row, file)
    return [
        WordingLine(subject(next(iter(own.values())).held_out), tuple(own[name] for name in systems if name in own))
        for own in lines.values()
    ]
