"""A query as somebody types it -> a query with wishes and conditions, and what was understood.

    asked = typed("striped skirt, not mini, under 50", vocabulary)
    index.search(asked.query, 10, where=asked.conditions)
    asked.explain()                    "Pattern: Striped · articleType: Skirts · not Length: Mini · price < 50"

    asked = same_but(Item("1163"), "red, long sleeves", index, vocabulary)     more like this item, with these changes

What is encoded is the text without what is not wanted and without conditions; a text in which nothing is known is
encoded as it stands, so that its results are those of a plain search. For "the same but", what an item has is kept (by
its labels, else as predicted where tune can tell), what is changed is exchanged, and its vector moves from the old
value's to the new one's. Nothing here searches.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float

from clipadapt.errors import UsageError
from clipadapt.prompts import Prompts
from clipadapt.search.filters import Condition
from clipadapt.search.index import Index
from clipadapt.search.opening import beside
from clipadapt.search.query import LONGEST, Item, Query, QueryPart
from clipadapt.search.understanding.reader import Parser, understand
from clipadapt.search.understanding.understood import Understood
from clipadapt.search.understanding.vocabulary import Value, Vocabulary
from clipadapt.search.understanding.words import named
from clipadapt.search.wishes import QUERIES, Signal, Signals, Wishes

PROMPTS = "prompts.yaml"
_LIKELY = 0.5
"""Probability from which a predicted value is one that an item has, where it is to be kept."""


class Typed(NamedTuple):
    """A query and how it was understood."""

    query: Query
    conditions: tuple[Condition, ...] = ()
    readings: tuple[Understood, ...] = ()
    """Of its texts, in their order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd."""
        return tuple(note for one in self.readings for note in one.notes)

    @property
    def plain(self) -> bool:
        """Whether it is searched as if nobody had tried to understand it."""
        return all(one.plain for one in self.readings)

    def explain(self) -> str:
        """One line for all texts."""
        return " + ".join(one.explain() for one in self.readings)


@dataclass(frozen=True)
class Known:
    """What the queries of an index are read by: the words of a prompts file, and query weights."""

    words: Prompts | None = None
    signals: Signals | None = None

    @classmethod
    def find(
        cls, index: str | Path, *, prompts: str | None = None, queries: Path | None = None, plain: bool = False
    ) -> Self:
        """The files that are named, else those of the run or release that an index lies in.

        Raises:
            PromptError, ConfigError: one of them cannot be read, or they do not belong together.
        """
        if plain:
            return cls()
        place = beside(index)
        near = {name: place / name for name in (PROMPTS, QUERIES) if place is not None and (place / name).is_file()}
        file, words = queries or near.get(QUERIES), prompts or near.get(PROMPTS)
        known = cls(None if words is None else Prompts.load(words), None if file is None else Signals.load(file))
        if known.signals is not None and known.words is not None:
            known.signals.require(known.signals.image_space, str(file), known.words)
        return known

    def vocabulary(self, index: Index) -> Vocabulary:
        """The values and columns that queries of the index can speak of."""
        return Vocabulary.of(index.items, self.words, self.signals.named if self.signals is not None else ())


def typed(query: QueryPart | Query, vocabulary: Vocabulary, parser: Parser | None = None) -> Typed:
    """Every text of a query that is looked for, understood; negatives and pictures stay as they are.

    Raises:
        UsageError: nothing is left to look for: the query only says what is not wanted.
    """
    given = Query.of(query)
    weights = given.weights or (1.0,) * len(given.positives)
    readings, kept = [], []
    wishes, conditions = given.wishes, ()
    for part, weight in zip(given.positives, weights, strict=True):
        if not isinstance(part, str) or weight < 0:
            kept.append((part, weight))
            continue
        found = understand(part, vocabulary, parser)
        readings.append(found)
        wishes = wishes.and_(Wishes(found.wanted, found.unwanted))
        conditions = (*conditions, *found.conditions)
        if found.searchable:
            kept.append((found.positive, weight))
    if not any(weight > 0 for _, weight in kept):
        said = " + ".join(one.explain() for one in readings)
        raise UsageError(
            f"{said}: says what results must not be or cost, and not what to look for; add words such as "
            "'shirt', or search for the words as they stand with --plain"
        )
    changed = dataclasses.replace(
        given,
        positives=tuple(part for part, _ in kept),
        weights=tuple(weight for _, weight in kept) if given.weights else (),
        wishes=wishes,
    )
    return Typed(changed, conditions, tuple(readings))


def same_but(
    start: Item | Float[np.ndarray, " dim"],
    changes: str,
    index: Index,
    vocabulary: Vocabulary,
    parser: Parser | None = None,
) -> Typed:
    """More like an item or a picture's vector, but with changes.

    Raises:
        UsageError: no changes, or an item that is not there.
    """
    if not changes.strip() or len(changes) > LONGEST:
        raise UsageError(f"say in 1 to {LONGEST:,} characters what should be other than in the picture: 'red'")
    vector = index.vector(start.id) if isinstance(start, Item) else index.cut(np.asarray(start, np.float32))
    found = understand(changes, vocabulary, parser)
    had = _values_of(start, vector, index, vocabulary)
    exchanged = {value.attribute for one in found.wanted for value in one}
    lost = {value for value in found.unwanted if value in had}
    kept = [value for value in had if value.attribute not in exchanged and value not in found.unwanted]
    wishes = Wishes(found.wanted, found.unwanted, tuple(kept))
    moved = vector.astype(np.float64)
    signals = index.signals.attributes if index.signals is not None else {}
    for values in found.wanted:
        for name in dict.fromkeys(value.attribute for value in values):
            new = [value.value for value in values if value.attribute == name]
            old = [value.value for value in had if value.attribute == name]
            moved += _direction(signals.get(name), new) - _direction(signals.get(name), old)
    for value in lost:
        moved -= _direction(signals.get(value.attribute), [value.value])
    parts: list[QueryPart] = [(moved / max(float(np.linalg.norm(moved)), 1e-12)).astype(np.float32)]
    content = [word for word in named(found.words) if word not in vocabulary.grammar.words]
    if found.searchable and (content or not exchanged <= set(signals)):
        parts.append(found.positive)
    seen = (start.id,) if isinstance(start, Item) else ()
    return Typed(Query(tuple(parts), wishes=wishes, seen=seen), found.conditions, (found,))


def _values_of(start: Item | np.ndarray, vector: np.ndarray, index: Index, vocabulary: Vocabulary) -> list[Value]:
    """What an item has, of attributes that can be spoken of: by its labels, else as predicted."""
    found: list[Value] = []
    known = index.item(start.id).attributes if isinstance(start, Item) else {}
    signals = index.signals.attributes if index.signals is not None else {}
    for name in signals or vocabulary.attributes:
        label = known.get(name, [])
        values = (label if isinstance(label, list) else [str(label)]) or _predicted(signals.get(name), vector)
        found += [value for one in values if (value := Value(name, one)) in vocabulary.values]
    return found


def _predicted(signal: Signal | None, vector: np.ndarray) -> Sequence[str]:
    if signal is None or not signal.wanted:
        return []
    chances = signal.probabilities(vector[None])[0]
    return [value for value, chance in zip(signal.values, chances, strict=True) if chance >= _LIKELY]


def _direction(signal: Signal | None, values: Sequence[str]) -> Float[np.ndarray, " dim"] | float:
    """The mean of values' unit vectors; nothing where none is known."""
    rows = [signal.values.index(value) for value in values if value in signal.values] if signal is not None else []
    if signal is None or not rows:
        return 0.0
    vectors = signal.vectors[rows].astype(np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
