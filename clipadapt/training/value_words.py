"""The words that name taught values and nothing that is to be kept: those whose tokens `lora.tokens` trains.

    taught, kept = value_words(objective)       # ["striped", "plaid", ...], ["dog", "shirt", "photo", ...]

Kept are the words of everything that anchors hold, of every template, and of titles, and those that any sentence has:
their embeddings stay as the base has them. Names that are held out of training teach nothing. Nothing here knows of
tokens.
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
_WORD = re.compile(r"\w+")


class Words(NamedTuple):
    """Each once, without capitals, in order."""

    taught: list[str]
    kept: list[str]


def value_words(objective: Objective) -> Words:
    """The words of the names that training may use of taught values, and those that are not to change."""
    wordings = objective.wordings
    taught = {name: objective.values[name] for name in objective.taught}
    rest = {name: values for name, values in objective.values.items() if name not in taught}
    names = [
        name for attribute in taught for value in taught[attribute] for name in wordings.trained_names(attribute, value)
    ]
    others = [name for attribute in rest for value in rest[attribute] for name in wordings.names(attribute, value)]
    if wordings.english:
        others += [*map(pluralise, others), *FUNCTION_WORDS]
    kept = _words([*everyday_things(taught, wordings), *others, *wordings.words_beside_values])
    return Words([word for word in _words(names) if word not in set(kept)], kept)


def _words(texts: Iterable[str]) -> list[str]:
    return sorted({word for text in texts for word in _WORD.findall(text.casefold())})
