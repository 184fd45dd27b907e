"""What a prompts file says, once read: the records that everything about prompts is written against.

Every record keeps its place in the file, so that whatever is found wrong later can be pointed at. Nothing here reads
YAML (schema does) or makes a text (wording does).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from clipadapt.prompts.document import NOWHERE, Place
from clipadapt.prompts.template import Rules, Template
from clipadapt.prompts.words import Word

VALUE, ATTRIBUTE, DESCRIPTION = "value", "attribute", "description"
"""What the fields of an attribute's template can name, besides the attribute's own column."""
T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """Something written in the file, with its weight and place."""

    what: T
    weight: float
    place: Place = NOWHERE
    held_out: bool = False
    """Never trained with: kept for judging how training holds in words that it did not use."""


@dataclass(frozen=True)
class ValueWords:
    """How one value is said."""

    names: tuple[Entry[Word], ...]
    descriptions: tuple[Entry[str], ...] = ()
    place: Place = NOWHERE


@dataclass(frozen=True)
class AttributeWords:
    """How one column's values are said and recognised."""

    name: str
    called: str
    templates: tuple[Entry[Template], ...]
    plain: Template | None = None
    values: Mapping[str, ValueWords] = field(default_factory=dict)
    absent: tuple[Entry[Template], ...] = ()
    """Texts of a not-applicable cell."""
    absent_name: str = ""
    """What captions say for such a cell; empty: their phrase vanishes."""
    separator: str = ""
    place: Place = NOWHERE


@dataclass(frozen=True)
class Fitted:
    """Where the weights of a file come from, when they were fitted: nothing may be scored there."""

    split: str
    fingerprint: str
    """Of the catalogue."""
    place: Place
    seed: int = 0
    """By which the split was carved, where it was."""


@dataclass(frozen=True)
class Library:
    """A whole file."""

    rules: Rules
    case: str
    conjunction: str
    missing_columns: str
    captions: tuple[Entry[Template], ...]
    attributes: Mapping[str, AttributeWords]
    other: AttributeWords | None
    absent_cells: frozenset[str]
    absent: tuple[Entry[Template], ...]
    fitted_on: Fitted | None
    words: tuple[str, ...] = ()
    """Texts whose words are drawn at random around a value in training, where the catalogue has no titles."""
    separators: Mapping[str, str] = field(default_factory=dict)
    """Of a catalogue's columns whose cells hold several values; they win over those of the file."""
