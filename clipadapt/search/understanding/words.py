"""A text in words and signs, each with its place, and the forms under which two spellings are the same name.

    tokens("T-Shirts, not €50")     T, -, Shirts, ",", not, €, 50
    key(["T", "Shirts"])            "tshirt": hyphens, spaces, capitals and a plural's s do not matter

Every character that is not a space belongs to one token. Nothing here knows what a word means.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<date>\d{4}-\d{2}(?:-\d{2})?(?!\d))|(?P<number>\d+(?:[.,]\d+)*(?![^\W_]))|(?P<word>[^\W_]+(?:['’&.][^\W_]+)*)"
    r"|(?P<sign>[<>≤≥]=?|\S)"
)
_SINGULAR = 4
"""Letters of the shortest word whose last s may be a plural's."""


class Token(NamedTuple):
    """A word, a number, a date or a sign, as it was typed."""

    text: str
    start: int
    end: int
    kind: str
    """date, number, word or sign."""
    folded: str
    """In lower case and one form of Unicode; that of a word or number is what is compared."""
    spaced: bool
    """Whether a space, or nothing, stands before it."""


def tokens(text: str) -> list[Token]:
    """All that is not a space, in order."""
    found = []
    for match in _TOKEN.finditer(text):
        start = match.start()
        kind = str(match.lastgroup)
        spaced = start == 0 or text[start - 1].isspace()
        found.append(Token(match[0], start, match.end(), kind, fold(match[0]), spaced))
    return found


def fold(text: str) -> str:
    """One form for capitals, ligatures and curly apostrophes."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold().replace("’", "'")


def key(words: Sequence[str]) -> str:
    """The name that folded words make, whatever stands between them, each in the singular."""
    return "".join(singular(word.removesuffix("'s")) for word in words)


@functools.lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """Without a plural's ending; both sides go through it, so that a wrong cut compares equal all the same."""
    if len(word) < _SINGULAR or not word.endswith("s") or word.endswith("ss"):
        return word
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]


def named(text: str) -> list[str]:
    """The folded words and numbers of a name."""
    return [token.folded for token in tokens(text) if token.kind != "sign"]
