"""Gates: conditions on measured rows that a release must meet, one YAML file each in eval/.

    conditions:
      - {row: headline, metric: rare_balanced_accuracy, bound: delta_low, above: 0}
      - {row: retention, metric: balanced_accuracy, bound: delta_low, above: -0.01}

A condition holds when every row that it names is on the right side; one that names no row does not hold unless it is
optional, for what was not measured was not shown. A bound is compared strictly. Nothing here measures.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from clipadapt.errors import GateError, listing
from clipadapt.sections import FileSection, Section
from clipadapt.statistics.rows import WORDINGS, Row, Wording, in_quoted_wording, select


class Condition(Section):
    """One bound on one figure; a key left out leaves that open."""

    row: str
    """A task: headline, recognition, text_to_image, retention, or one set as retention:NAME."""
    metric: str
    attribute: str | None = None
    value: str | None = None
    """null: the rows over all values, not each value's own."""
    bin: Literal["all", "many", "medium", "few", "rare"] | None = None
    k: int | None = None
    wording: Wording | None = None
    """null: the one that is quoted, which is the held-out one where values are called by a prompts file."""
    bound: Literal["mean", "low", "high", "delta", "delta_low", "delta_high", "p", "minimum_detectable"]
    above: float | None = None
    below: float | None = None
    optional: bool = False
    """Whether it holds where no such row was measured, as of rare values in a catalogue that has none."""
    why: str = ""
    """Said when the condition does not hold."""

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("a condition needs one of above and below")
        return self

    def __str__(self) -> str:
        about = " ".join(part for part in (self.attribute, self.value) if part)
        bound = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        at = f"@{self.k}" if self.k else ""
        words = f" in {WORDINGS[self.wording]}" if self.wording is not None else ""
        return f"{self.row} {self.metric}{at}{' of ' if about else ''}{about}{words}: {self.bound} {bound}"

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The rows this condition is about: paired ones where the bound is of a difference."""
        wanted = {
            key: value for key in ("attribute", "bin", "k", "wording") if (value := getattr(self, key)) is not None
        }
        paired = self.bound in ("delta", "delta_low", "delta_high", "p", "minimum_detectable")
        rows = rows if self.wording is not None else in_quoted_wording(rows)
        about = [
            row
            for row in select(rows, metric=self.metric, value=self.value, **wanted)
            if row.task == self.row or row.task.partition(":")[0] == self.row
        ]
        compared = any(row.paired for row in about)
        return [row for row in about if row.paired or not (paired or compared)]

    def holds(self, row: Row) -> bool:
        """Whether one row is on the right side; a figure that is missing is not."""
        figure = getattr(row, self.bound)
        if figure is None:
            return False
        return figure > self.above if self.above is not None else figure < (self.below or 0.0)


class Gate(FileSection):
    """A whole file."""

    name: str = "release"
    conditions: Annotated[tuple[Condition, ...], Field(min_length=1)]


class Outcome(NamedTuple):
    """What became of one condition."""

    condition: Condition
    passed: bool
    reason: str
    """The figures, in words."""


def judge(gate: Gate, rows: Sequence[Row]) -> list[Outcome]:
    """Checks every condition against the rows, in the gate's order."""
    return [_outcome(condition, rows) for condition in gate.conditions]


def require(gate: Gate, rows: Sequence[Row]) -> list[Outcome]:
    """As `judge`, for a command that must not go on.

    Raises:
        GateError: a condition does not hold; names every one, with its figures.
    """
    outcomes = judge(gate, rows)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if failed:
        raise GateError(
            f"gate {gate.name!r} not passed, {len(failed)} of {len(outcomes)} condition(s) do not hold"
            + listing([outcome.reason for outcome in failed])
        )
    return outcomes


def _outcome(condition: Condition, rows: Sequence[Row]) -> Outcome:
    about = condition.rows(rows)
    if not about and condition.optional:
        return Outcome(condition, True, f"{condition}: no such row was measured; it is optional")
    if not about:
        rare = condition.metric.startswith("rare")
        remedy = "name a --train-split, which says what values are rare" if rare else "add its task to the suite"
        return Outcome(condition, False, f"{condition}: no such row was measured; {remedy}")
    worst = [row for row in about if not condition.holds(row)]
    shown = worst or about
    figures = "; ".join(f"{row.label()}: {_figure(getattr(row, condition.bound))}" for row in shown)
    why = f" ({condition.why})" if condition.why and worst else ""
    return Outcome(condition, not worst, f"{condition}: {figures}{why}")


def _figure(figure: float | None) -> str:
    return "no figure, for its items give no spread" if figure is None else f"{figure:.4f}"
