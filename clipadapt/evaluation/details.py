"""What a report shows beside its rows: confusions, calibration, examples and counts of what was left out.

Plain records, handed from the measuring to the page; results.json does not hold them. Nothing here measures or prints.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Confusion(NamedTuple):
    """How often items of one value were taken for another."""

    attribute: str
    values: tuple[str, ...]
    """Most frequent first."""
    truth: Int[np.ndarray, " items"]
    """Each item's value, by number."""
    chosen: dict[str, Int[np.ndarray, " items"]]
    """System -> the value it took the item for."""

    def table(self, system: str, shown: int) -> Int[np.ndarray, "shown shown"]:
        """Items by their value and by the value chosen, among the first `shown` values."""
        truth, chosen = self.truth, self.chosen[system]
        among = (truth < shown) & (chosen < shown)
        return np.bincount(truth[among] * shown + chosen[among], minlength=shown**2).reshape(shown, shown)

    def largest(self, system: str, most: int) -> list[tuple[str, str, int]]:
        """(value, taken for, items) of the confusions with most items."""
        wrong = self.truth != self.chosen[system]
        pairs = self.truth[wrong] * len(self.values) + self.chosen[system][wrong]
        cells, counts = np.unique(pairs, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:most]
        return [
            (self.values[cell // len(self.values)], self.values[cell % len(self.values)], int(count))
            for cell, count in zip(cells[order], counts[order], strict=True)
        ]


class Reliability(NamedTuple):
    """Whether a stated probability is the share of times it comes true."""

    attribute: str
    system: str
    temperature: float
    """Divides cosine similarities before the softmax."""
    fitted_on: str | None
    """The split the temperature was fitted on; null: the model's own."""
    error: float
    """Expected calibration error: mean distance of confidence and accuracy, weighted by items."""
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    items: Int[np.ndarray, " bins"]


class Answer(NamedTuple):
    """One picture found for a query."""

    item: str
    right: bool
    thumbnail: bytes
    """JPEG; empty where pictures are not shown."""


class Example(NamedTuple):
    """One query with what two systems found, side by side."""

    kind: Literal["win", "loss"]
    attribute: str
    query: str
    text: str | None
    """The first text of the query, where it is a text."""
    scores: dict[str, float]
    """System -> average precision of the query."""
    answers: dict[str, tuple[Answer, ...]]
    """System -> best first."""


class Flip(NamedTuple):
    """One picture that one of two systems recognised."""

    item: str
    value: str
    """The one it has."""
    before: str
    """What the system compared with took it for."""
    after: str
    """What the reported system took it for."""
    thumbnail: bytes
    """JPEG; empty where pictures are not shown."""


class Flips(NamedTuple):
    """The pictures of an attribute that went from wrong to right, and from right to wrong."""

    attribute: str
    gained: int
    lost: int
    gains: tuple[Flip, ...]
    """Some of those gained."""
    losses: tuple[Flip, ...]


class Missing(NamedTuple):
    """Items without a known value of an attribute, which its queries and gallery leave out."""

    attribute: str
    unknown: int
    known: int
    too_few: tuple[str, ...]
    """Values left out because they have fewer items than the suite's min_items."""


class Training(NamedTuple):
    """How the reported run learnt, from its own log."""

    loss: tuple[tuple[float, float], ...]
    """(epochs done, loss), by step, thinned."""
    chosen_by: str
    """The metric that epochs are chosen by."""
    figures: dict[str, tuple[tuple[float, float], ...]]
    """Metric on tune -> (epochs done, figure)."""
    epochs: int
    steps: int
    images: int
    """Pictures seen, each time counted."""
    seconds: float
    """Of the steps alone: without encoding, text warm-up and measuring."""


class Advice(NamedTuple):
    """Something to try with the reported run."""

    text: str
    """What, with the key to change or the command to type."""
    why: str
    """The figures behind it."""


@dataclass(frozen=True)
class Details:
    """Everything of one evaluation that is not a row."""

    confusions: tuple[Confusion, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    examples: tuple[Example, ...] = ()
    example_rule: str = ""
    """How the examples were chosen, in a sentence."""
    flips: tuple[Flips, ...] = ()
    flip_rule: str = ""
    """How the pictures of `flips` were chosen, in a sentence."""
    missing: tuple[Missing, ...] = ()
    broken: tuple[str, ...] = ()
    """Pictures that could not be decoded and were left out, a line each."""
    train_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Attribute -> value -> labelled training items."""
    margins: dict[str, float] = field(default_factory=dict)
    """Retention set -> the loss that still counts as none."""
    training: Training | None = None
    """Of the run that is reported; null where the model is no run."""
    advice: tuple[Advice, ...] = ()
    """What to try next with that run, the most promising first."""
    notes: tuple[str, ...] = ()
    """Tasks that had nothing to measure, and why."""
