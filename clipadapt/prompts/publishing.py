"""Whether a text may stand under a published picture: short enough to be read out, and no heap of keywords.

    unfit_alt("A striped shirt")                          # "": nothing is wrong with it
    stuffed("shirt, shirts, blue shirt, cheap shirt")     # "says 'shirt' 4 times"

Search engines rank pages down for alt texts that repeat a word or string search terms together, and screen readers cut
or rush through long ones. A word counts as repeated with or without a plural's s; articles and prepositions may come as
often as grammar wants. A list is stuffed when it has more short parts than a description has. Only English words for a
picture and English function words are known here; other languages are judged by repetition, lists and length alone.
Source: Google Search Central, "Google image SEO best practices", on alt text; WCAG 2.2, technique G94.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from clipadapt.prompts.document import Place
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.template import Phrase

ALT_LENGTH = 125
"""Characters that screen readers read without a break."""
MAX_SAID = 2
"""Times that a description may say a word; three is the least that the examples of keyword stuffing have."""
MAX_PARTS = 7
"""Parts between commas; a template that states seven attributes one by one is still a description."""
_SHORT = 3
"""Words of a part that reads as a search term."""
_ANNOUNCES = {"photo", "photograph", "picture", "image", "drawing", "shot"}
_LEAD = 4
"""Words at the start that may announce a picture, as in "a close-up product photo"."""
_GRAMMAR = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "in",
        "on",
        "with",
        "for",
        "to",
        "by",
        "at",
        "from",
        "without",
        "is",
        "are",
        "it",
        "its",
        "that",
        "this",
        "as",
    ]
)
_WORD = re.compile(r"[^\W\d_]+")
Found = tuple[Place, Literal["warning", "note"], str]


def unfit_alt(text: str) -> str:
    """Why a text is no alt text; "" where it is one."""
    if len(text) > ALT_LENGTH:
        return f"has {len(text)} characters, and screen readers read {ALT_LENGTH} without a break"
    if _ANNOUNCES & set(text.lower().split()[:_LEAD]):
        return "announces a picture, which screen readers do themselves"
    return stuffed(text)


def stuffed(text: str) -> str:
    """Why a text reads as a heap of keywords; "" where it does not."""
    counts = Counter(_stem(word) for word in _WORD.findall(text.lower()) if word not in _GRAMMAR)
    word, times = counts.most_common(1)[0] if counts else ("", 0)
    if times > MAX_SAID:
        return f"says {word!r} {times} times"
    parts = re.split(r"[,;|]", text)
    if len(parts) > MAX_PARTS and sum(len(part.split()) <= _SHORT for part in parts) > MAX_PARTS:
        return f"lists {len(parts)} short parts, as search terms are strung together"
    return ""


def findings(prompts: Prompts, rows: Iterable[Mapping[str, str]]) -> Iterator[Found]:
    """For lint: caption templates that are stuffed or too long for an alt text; `rows` may be none at all.

    Without rows a template is judged by its literal words.
    """
    kinds = list(rows)
    strict = prompts.library.missing_columns == "error"
    for entry in prompts.library.captions:
        if kinds and strict and any(field.name not in kinds[0] for field in entry.what.fields if field.name):
            continue  # there is nothing to say where a column is not there, which is a finding of its own
        said = [text for row in kinds if (text := prompts.caption_of(entry.what, row))]
        said = said or [" ".join(_literal(entry.what.root))]
        heaps = {text: reason for text in dict.fromkeys(said) if (reason := stuffed(text))}
        if heaps:
            first, reason = next(iter(heaps.items()))
            message = f"keyword stuffing: {first!r} {reason}"
            yield entry.place, "warning", f"{message}; such captions are never published, so say it once"
        long = [text for text in dict.fromkeys(said) if len(text) > ALT_LENGTH]
        if long:
            message = f"{len(long)} of its texts have over {ALT_LENGTH} characters and are no alt texts"
            yield entry.place, "note", f"{message}, the longest {max(map(len, long))}: {max(long, key=len)!r}"


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _literal(phrase: Phrase) -> Iterator[str]:
    for part in phrase.parts:
        if isinstance(part, Phrase):
            yield from _literal(part)
        elif isinstance(part, str):
            yield part
