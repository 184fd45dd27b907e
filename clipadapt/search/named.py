"""Queries that name values: `Pattern: Striped`, `striped`, `red striped skirts for summer`.

    names = values_named("Striped skirts", learned)
    names.values, names.share            # (("Pattern", "Striped"), ("Category", "skirt")), 1.0

A model that learned value vectors finds such values by their text and those vectors together. A name counts where one
attribute alone has it, the longest first; capitals, hyphens, doubled spaces and a plural's s do not matter, and what
follows "not", "no" or "without" is not wanted. Words that name nothing go by their text. Nothing here encodes anything.
"""

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from clipadapt.towers.value_vectors import ValueVectors

_WORD = re.compile(r"[^\W_]+(?:['’&/.][^\W_]+)*")
_REFUSALS = frozenset({"not", "no", "without", "non"})
_SINGULAR = 4
"""Letters of the shortest word whose last s may be a plural's."""

Phrases = Mapping[tuple[str, ...], tuple[str, str] | None]


class Names(NamedTuple):
    """The values that a query names."""

    values: tuple[tuple[str, str], ...]
    """(attribute, value), as the learned vectors write them, in the order of the query; none twice."""
    share: float
    """Of the query's words, how many belong to these names; from 0 to 1."""


def values_named(text: str, learned: ValueVectors) -> Names:
    """What a query names; nothing where its words are the names of no value, or of two attributes' values."""
    attributes = tuple((name, one.values) for name, one in learned.attributes.items())
    head, colon, tail = text.partition(":")
    if colon:
        for name, values in attributes:
            if _words(name) == _words(head):
                for value in values:
                    if _words(value) == _words(tail):
                        return Names(((name, value),), 1.0)
    phrases = _phrases(attributes)
    longest = max(map(len, phrases), default=0)
    words, at, counted = _words(text), 0, 0  # at: the word that is looked at
    found: dict[tuple[str, str], None] = {}
    while at < len(words):
        size = next(
            (size for size in range(min(longest, len(words) - at), 0, -1) if phrases.get(words[at : at + size])), 0
        )
        named = phrases.get(words[at : at + size])
        if named is not None and not (at and words[at - 1] in _REFUSALS):
            found[named] = None
            counted += size
        at += max(size, 1)
    return Names(tuple(found), counted / len(words) if words else 0.0)


@functools.lru_cache(maxsize=8)
def _phrases(attributes: tuple[tuple[str, tuple[str, ...]], ...]) -> Phrases:
    """Words of a value -> the value; None where two have the same words."""
    known: dict[tuple[str, ...], tuple[str, str] | None] = {}
    for name, values in attributes:
        for value in values:
            words = _words(value)
            if words:
                known[words] = None if words in known else (name, value)
    return known


def _words(text: str) -> tuple[str, ...]:
    return tuple(_singular(word) for word in _WORD.findall(text.casefold()))


def _singular(word: str) -> str:
    """Without a plural's ending; both sides go through it, so that a wrong cut compares equal all the same."""
    if len(word) < _SINGULAR or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]
