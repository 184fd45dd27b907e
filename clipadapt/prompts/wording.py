"""How one cell or value is said: its names, its ensemble of texts, its synonyms.

Listed values speak through the file's names, others by their own name; a cell that says "not applicable" has wording of
its own. Draws are keyed, never counted. Nothing here knows of rows, items or files; `Prompts` puts the pieces together.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from clipadapt.keyed import integer
from clipadapt.prompts.definitions import ATTRIBUTE, DESCRIPTION, VALUE, AttributeWords, Entry, Library
from clipadapt.prompts.template import Field, Lookup, Template
from clipadapt.prompts.words import Word, joined, pluralise

T = TypeVar("T")
REWORDINGS = 8
"""Most texts that one query becomes; each costs a text encoding at search time."""
BARE = Template.parse("{value}")
"""A value by its name alone."""


class Text(NamedTuple):
    """One text of a value's ensemble, and what it was made from."""

    text: str
    share: float
    """Of the value's vector; the shares of an ensemble sum to 1."""
    template: int
    """Index in the attribute's templates; -1 for a wording that is none of them, as of a not-applicable cell."""
    name: str
    """The name of the value that the template was filled with; empty for a not-applicable cell."""


def uniform(*key: int | str) -> float:
    """One number in [0, 1) for a key."""
    return integer(*key) / 2**64


def drawn(things: Sequence[T], weights: Sequence[float], place: float) -> T:
    """The thing at `place` in [0, 1) when each takes room by its weight."""
    edges = np.cumsum(weights)
    return things[min(int(np.searchsorted(edges, place * edges[-1], side="right")), len(things) - 1)]


def own_name(library: Library, value: str) -> Word:
    """An unlisted value, by its own name."""
    text = " ".join(value.split())
    return Word(text) if library.case == "keep" else Word(text.lower(), written=text)


def names_of(library: Library, words: AttributeWords | None, value: str) -> tuple[Entry[Word], ...]:
    """A value's names with their weights, the first one first; without those that are held out."""
    listed = words.values[value].names if words is not None and value in words.values else ()
    trained = tuple(entry for entry in listed if not entry.held_out)
    return trained if any(entry.weight for entry in trained) else (Entry(own_name(library, value), 1.0),)


def separator_of(library: Library, column: str) -> str:
    """What separates the values of a column's cells: by the catalogue, else the file; empty for single values."""
    words = library.attributes.get(column)
    return library.separators.get(column) or (words.separator if words is not None else "")


def cell_word(library: Library, column: str, cell: str, key: Sequence[int] | None) -> Word | None:
    """What a caption says for a cell; None when nothing is known.

    A name is drawn per value by `key`, or the first is taken when there is none; several values are joined, and those
    that are said alike once: "Blue|blue" is blue, not blue and blue.
    """
    words = library.attributes.get(column)
    separator = separator_of(library, column)
    values = [value.strip() for value in (cell.split(separator) if separator else [cell])]
    by_text: dict[str, Word] = {}
    for value in values:
        if word := _value_word(library, words, column, value, key):
            by_text.setdefault(word.text.casefold(), word)
    said = list(by_text.values())
    if len(said) < 2:
        return said[0] if said else None
    text, written = (
        joined(list(texts), library.conjunction)
        for texts in zip(*((word.text, word.written or word.text) for word in said), strict=True)
    )
    return Word(text, said[0].article, written=written)


def _value_word(
    library: Library, words: AttributeWords | None, column: str, value: str, key: Sequence[int] | None
) -> Word | None:
    if not value:
        return None
    if value in library.absent_cells and (words is None or value not in words.values):
        return Word(words.absent_name, "") if words is not None and words.absent_name else None
    names = names_of(library, words, value)
    if key is None or len(names) == 1:
        return names[0].what
    return drawn(names, [name.weight for name in names], uniform("name", column, value, *key)).what


def is_absent(library: Library, words: AttributeWords, value: str) -> bool:
    """Whether a value has the wording of "there is no such thing"."""
    return value in library.absent_cells and value not in words.values and bool(words.absent or library.absent)


def filled(words: AttributeWords, value: str, name: Word, description: str | None) -> Lookup:
    """What the fields of an attribute's template stand for, for one value under one of its names."""
    said = {
        VALUE: name,
        words.name: name,
        ATTRIBUTE: Word(words.called),
        DESCRIPTION: Word(description) if description else None,
    }

    def word(field: Field) -> Word | None:
        return Word(value) if "cell" in field.filters else said[field.name]

    return word


def ensemble(library: Library, words: AttributeWords, value: str) -> list[Text]:
    """All texts of a value, without those that are held out; empty when no template fits it.

    A template's weight is shared by the names and descriptions it was filled with, so synonyms add words, not weight.
    Where every template is held out, the plain text stands in, or the bare name.
    """
    if is_absent(library, words, value):
        said = filled(words, value, Word(""), None)
        entries = words.absent or library.absent
        total = sum(entry.weight for entry in entries)
        return [Text(e.what.render(said, library.rules), e.weight / total, -1, "") for e in entries if e.weight]
    entries = [(n, e) for n, e in enumerate(words.templates) if e.weight and not e.held_out]
    by_template = [
        (entry.weight, number, texts)
        for number, entry in entries or [(-1, Entry(words.plain or BARE, 1.0))]
        if (texts := filled_in(library, words, value, entry.what))
    ]
    total = sum(weight for weight, _, _ in by_template)
    return [
        Text(text, weight / total * share, number, name)
        for weight, number, texts in by_template
        for text, (share, name) in texts.items()
    ]


def descriptions_of(words: AttributeWords, value: str, template: Template) -> Sequence[Entry[str] | None]:
    """What a template can describe the value by; None alone where it does not describe, or nothing is known."""
    listed = words.values[value].descriptions if value in words.values else ()
    return listed if listed and any(field.name == DESCRIPTION for field in template.fields) else (None,)


def filled_in(library: Library, words: AttributeWords, value: str, template: Template) -> dict[str, tuple[float, str]]:
    """One template's distinct texts for a value, with shares that sum to 1 and the names they hold."""
    names, descriptions = names_of(library, words, value), descriptions_of(words, value, template)
    texts: dict[str, tuple[float, str]] = {}
    for name, description in itertools.product(names, descriptions):
        said = filled(words, value, name.what, description.what if description else None)
        share = name.weight * (description.weight if description else 1.0)
        if share and (text := template.render(said, library.rules)):
            before, first = texts.get(text, (0.0, name.what.text))
            texts[text] = (before + share, first)
    total = sum(share for share, _ in texts.values())
    return {text: (share / total, name) for text, (share, name) in texts.items()}


class Synonyms:
    """The other names of every value, to say a free-text query in all of them."""

    def __init__(self, library: Library):
        self._others = dict(_others(library))
        names = "|".join(re.escape(name) for name in sorted(self._others, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)

    def rewordings(self, query: str) -> list[str]:
        """The query, then its variants, those with the fewest words exchanged first; at most `REWORDINGS` texts."""
        found = [match for match in self._pattern.finditer(query) if match[0].lower() in self._others]
        choices = [(match[0], *self._others[match[0].lower()]) for match in found]
        edges = [0, *(edge for match in found for edge in match.span()), len(query)]
        gaps = [query[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
        variants = itertools.islice(itertools.product(*choices), 64 * REWORDINGS)
        asked = [match[0] for match in found]
        nearest = sorted(variants, key=lambda said: sum(word != own for word, own in zip(said, asked, strict=True)))
        return list(dict.fromkeys(_interleaved(gaps, said) for said in nearest))[:REWORDINGS]


def _interleaved(gaps: Sequence[str], said: Sequence[str]) -> str:
    return "".join(itertools.chain.from_iterable(zip(gaps, (*said, ""), strict=True)))


def _others(library: Library) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(lower-case name, its value's other names), in English also in plural; not names that two values share.

    A name that is held out is understood, and never said in place of another.
    """
    owners: dict[str, set[tuple[str, str]]] = {}
    others: dict[str, tuple[str, ...]] = {}
    for attribute, words in library.attributes.items():
        for value, said in words.values.items():
            names = [entry for entry in said.names if entry.weight]
            singular = {entry.what.text: entry.held_out for entry in names}
            plural = {entry.what.plural or pluralise(entry.what.text): entry.held_out for entry in names}
            for forms in (singular, plural if library.rules.english else {}):
                for form in forms:
                    owners.setdefault(form.lower(), set()).add((attribute, value))
                    rest = tuple(other for other in forms if other.lower() != form.lower() and not forms[other])
                    others.setdefault(form.lower(), rest)
    return ((form, rest) for form, rest in others.items() if rest and len(owners[form]) == 1)
