"""One value, one spelling: what `data.normalise` folds, and what `data check` takes for the same value.

    folded("Soli\u00addes  Rot ", "unicode")   composed characters alone (NFC): é is one character, never two
    folded(..., "spaces")                      and spaces trimmed, runs and no-break spaces one space, no soft hyphens
    folded(..., "case")                        and lower case

Each level includes those before it. Lower case rather than the most frequent spelling: train, validation and what is
added to an index later must agree without knowing one another.
"""

import re
import unicodedata
from typing import Literal

Normalise = Literal["unicode", "spaces", "case"]

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphen, zero-width space, word joiner, byte order mark. Joiners stay, for scripts need them."""


def folded(text: str, level: Normalise) -> str:
    """The text in the spelling that stands for all of its level."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        if level != "unicode":
            text = _INVISIBLE.sub("", text)
    if level != "unicode":
        text = " ".join(text.split())
    return text.lower() if level == "case" else text


def alike(text: str) -> str:
    """A key that texts share when they differ by accents' form, case, spaces, hyphens or underscores only."""
    return "".join(letter for letter in folded(text, "spaces").casefold() if letter not in " -_\u2010\u2011\u2013")
