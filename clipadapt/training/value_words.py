"""The words that name taught values and nothing that is to be kept: those whose tokens `lora.tokens` trains.

    taught, kept = value_words(objective)       # ["striped", "plaid", ...], ["dog", "shirt", "photo", ...]

Kept are the words of everyday things and of values that are not taught, of every template, and of titles but for those
that name values, and in English those of any sentence: their embeddings stay as the base has them. Names held out of
training teach nothing, and long ones describe ("neckline with a small opening") in words that mean other things
elsewhere. Nothing here knows of tokens.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from clipadapt.prompts.words import pluralise
from clipadapt.training.anchors import everyday_things
from clipadapt.training.objective import Objective

FUNCTION_WORDS = (
    "a", "about", "above", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "before", "below",
    "between", "both", "but", "by", "can", "down", "each", "every", "few", "for", "from", "has", "have", "he", "her",
    "his", "i", "in", "into", "is", "it", "its", "just", "less", "like", "made", "many", "me", "more", "most", "much",
    "my", "no", "not", "of", "off", "on", "one", "only", "or", "other", "our", "out", "over", "own", "same", "she",
    "so", "some", "such", "than", "that", "the", "their", "them", "these", "they", "this", "those", "three",
    "through", "to", "too", "two", "under", "up", "very", "was", "we", "were", "what", "when", "where", "which",
    "while", "who", "whose", "with", "without", "you", "your",
)  # fmt: skip
"""Words of any English sentence."""
NAME_WORDS = 3
"""Most words of an English name whose words are taught. In other languages it is one, for which of several mean nothing
by themselves is not known there."""
_WORD = re.compile(r"[^\W\d_]{2,}")
"""No numbers and no single letters, which are in texts of all kinds."""


class Words(NamedTuple):
    """Each once, in lower case, in order."""

    taught: list[str]
    kept: list[str]


def value_words(objective: Objective) -> Words:
    """The words of the names that training may use of taught values, and those that are not to change.

    Raises:
        PromptError: the file has no wording for a taught attribute.
    """
    wordings, prompts = objective.wordings, objective.prompts
    taught = {name: objective.values[name] for name in objective.taught}
    names = [
        name for attribute in taught for value in taught[attribute] for name in wordings.trained_names(attribute, value)
    ]
    longest = NAME_WORDS if wordings.english else 1
    short = [name for name in names if len(_WORD.findall(name)) <= longest]
    kept = [*everyday_things(taught, wordings), *wordings.words_beside_values]
    for attribute, values in objective.values.items():
        if attribute in taught:
            continue
        for value in values:
            kept += wordings.names(attribute, value)
            if prompts.speaks_of(attribute):
                kept += [prompts.plain(attribute, value), *prompts.value_texts(attribute, value)]
    if wordings.english:
        kept += [*map(pluralise, kept), *FUNCTION_WORDS]
    unchanged = {word.casefold() for word in _words(kept)}
    return Words([word for word in _words(short) if word.casefold() not in unchanged], _words(kept))


def _words(texts: Iterable[str]) -> list[str]:
    return sorted({word for text in texts for word in _WORD.findall(text.lower())})
