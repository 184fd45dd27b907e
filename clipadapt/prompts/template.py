"""A template and the words of one item give one text; a template is parsed once, so a value can hold any character.

    {Sleeve Length}        the value; a name with odd characters goes in quotes: {"a|b"}
    {a Pattern}            with its article: a striped, an embroidered, a pair of jeans
    {a for articleType}    the article alone, fitting what follows, as "{a for articleType} [{Pattern} ]{articleType}"
    {a}                    a or an, by the sound of what follows
    {articleType|plural}   filters: plural, lower, upper, capital, cell (as it stands in the table); several go in a row
    [ in {Fabric}]         a phrase that vanishes when a field in it is empty; phrases can stand in phrases
    {{ }} [[ ]]            the characters themselves (inside a phrase, ]] ends two phrases)

A field outside all phrases is required: without it there is no text. Nothing here knows where words come from.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from clipadapt.prompts.words import Word, indefinite, pluralise, tidy

FILTERS = ("plural", "lower", "upper", "capital", "cell")


class TemplateError(ValueError):
    """What is wrong with a template, and at which character (from 0) of it."""

    def __init__(self, message: str, offset: int):
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Field:
    """One `{...}`; `name` is empty for a bare `{a}`."""

    name: str
    offset: int
    article: str = ""
    """"a" or "A" when an article is wanted, else empty."""
    noun: bool = True
    """False for `{a for ...}`, which writes the article alone."""
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phrase:
    """Text, fields and inner phrases in order; only the outermost one is not optional."""

    parts: "tuple[str | Field | Phrase, ...]"

    def fields(self) -> Iterator[Field]:
        """The fields that must be there for this phrase to be said; not those of inner phrases."""
        return (part for part in self.parts if isinstance(part, Field) and part.name)

    def all_fields(self) -> Iterator[Field]:
        yield from self.fields()
        for part in self.parts:
            if isinstance(part, Phrase):
                yield from part.all_fields()


@dataclass(frozen=True)
class Rules:
    """What the language of a file decides about every text."""

    language: str = "en"
    sentence: bool = False
    """First letter of a text as a capital."""

    @property
    def english(self) -> bool:
        return self.language == "en"


Lookup = Callable[[Field], Word | None]
"""The word for a field of the item at hand; None when nothing is known."""


@dataclass(frozen=True)
class Template:
    """A parsed template; equal texts are equal templates."""

    text: str
    root: Phrase

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Reads the notation above.

        Raises:
            TemplateError: at the first fault, with its place.
        """
        root, _ = _phrase(text, 0, nested=False)
        if not text.strip():
            raise TemplateError("the template is empty", 0)
        return cls(text, root)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Every field, in phrases and outside."""
        return tuple(self.root.all_fields())

    def missing(self, lookup: Lookup) -> list[str]:
        """Names of the required fields that are empty for this item."""
        return list(dict.fromkeys(field.name for field in self.root.fields() if not _said(lookup(field))))

    def stated(self, lookup: Lookup) -> list[str]:
        """Names of the fields whose words end up in the text, each once; not those of vanished phrases."""
        return [] if self.missing(lookup) else list(dict.fromkeys(_stated(self.root, lookup)))

    def speaks(self, lookup: Lookup, rules: Rules) -> bool:
        """Whether `render` gives a text; cheaper, for a required field that is there is always said."""
        required = list(self.root.fields())
        return all(_said(lookup(field)) for field in required) and bool(required or self.render(lookup, rules))

    def render(self, lookup: Lookup, rules: Rules = Rules()) -> str:
        """The text for one item; empty when a required field is empty or nothing is left to say."""
        if self.missing(lookup):
            return ""
        pieces: list[_Piece | _Article] = []
        drawn = "".join(_draw(self.root, lookup, rules, pieces))
        text = _fill(tidy(drawn, rules.language), pieces)
        return text[:1].upper() + text[1:] if rules.sentence else text


@dataclass(frozen=True)
class _Article:
    """An article that can only be chosen once the following word is known."""

    capital: bool

    def before(self, following: str) -> str:
        word = indefinite(following) if following else ""
        return word.capitalize() if self.capital else word


class _Piece(NamedTuple):
    """What stands in the text for a field, and what an article before it goes by."""

    text: str
    sound: str


def _said(word: Word | None) -> bool:
    return word is not None and bool(word.text.strip())


def _stated(phrase: Phrase, lookup: Lookup) -> Iterator[str]:
    yield from (field.name for field in phrase.fields() if field.noun)
    for part in phrase.parts:
        if isinstance(part, Phrase) and _speaks(part, lookup):
            yield from _stated(part, lookup)


def _speaks(phrase: Phrase, lookup: Lookup) -> bool:
    """Whether a phrase is said: all fields of its own are known or, when it has none, any phrase in it is said."""
    own = list(phrase.fields())
    if own:
        return all(_said(lookup(field)) for field in own)
    return any(_speaks(part, lookup) for part in phrase.parts if isinstance(part, Phrase))


def _draw(phrase: Phrase, lookup: Lookup, rules: Rules, pieces: "list[_Piece | _Article]") -> Iterator[str]:
    """Literal text with a numbered placeholder per value, so that tidying cannot touch what a value holds."""
    for part in phrase.parts:
        if isinstance(part, str):
            yield part
        elif isinstance(part, Phrase):
            if _speaks(part, lookup):
                yield from _draw(part, lookup, rules, pieces)
        else:
            said = _field(part, lookup(part) if part.name else None, rules)
            pieces += said
            yield " ".join(f"\0{number}\0" for number in range(len(pieces) - len(said), len(pieces)))


def _field(field: Field, word: Word | None, rules: Rules) -> "list[_Piece | _Article]":
    """The article, when one is wanted and there is one, then the value, when it is wanted here."""
    said: list[_Piece | _Article] = []
    if field.article:
        own = word.article if word is not None else None
        if own is None and rules.english:
            said.append(_Article(capital=field.article == "A"))
        elif own:
            own = own[:1].upper() + own[1:] if field.article == "A" else own
            said.append(_Piece(own, own))
    if word is not None and field.noun:
        plural = tuple(name for name in field.filters if name == "plural")
        sound = filtered(word._replace(text=word.sound), plural, rules)
        said.append(_Piece(filtered(word, field.filters, rules), sound))
    return said


def filtered(word: Word, filters: tuple[str, ...], rules: Rules = Rules()) -> str:
    """The word as the filters want it; `cell` was honoured by whoever looked the word up."""
    text = " ".join(word.text.split())
    for name in filters:
        if name == "plural":
            text = _several(word, text, rules)
        elif name == "lower":
            text = text.lower()
        elif name == "upper":
            text = text.upper()
        elif name == "capital":
            text = text[:1].upper() + text[1:]
    return text


def _several(word: Word, text: str, rules: Rules) -> str:
    """A word with an article of its own ("a pair of", none) is a plural or cannot have one: it stays as it is."""
    if word.plural is not None:
        return word.plural or text
    counted = word.article is None or word.article.lower() in ("a", "an")
    return pluralise(text) if rules.english and counted else text


_PLACEHOLDER = re.compile("\0(\\d+)\0")


def _fill(drawn: str, pieces: "list[_Piece | _Article]") -> str:
    """Puts values in from the last to the first, for an article has to see what follows it."""
    text = sound = ""
    end = len(drawn)
    for match in reversed(list(_PLACEHOLDER.finditer(drawn))):
        text, sound = (drawn[match.end() : end] + rest for rest in (text, sound))
        piece = pieces[int(match[1])]
        if isinstance(piece, _Article):
            article = piece.before(sound.lstrip())
            piece = _Piece(article, article)
        value = piece.text
        if value and value[-1] in ".!?" and text.startswith(value[-1]):
            value = value[:-1]
        text, sound, end = value + text, piece.sound + sound, match.start()
    return (drawn[:end] + text).strip()


def _phrase(text: str, start: int, *, nested: bool) -> tuple[Phrase, int]:
    """Parses until the closing bracket, or to the end when not nested; returns the phrase and where it ended."""
    parts: list[str | Field | Phrase] = []
    literal, at = "", start
    while at < len(text):
        sign = text[at]
        if sign in "{}[]" and text[at : at + 2] == sign * 2 and not (sign == "]" and nested):
            literal, at = literal + sign, at + 2
            continue
        if sign not in "{}[]":
            literal, at = literal + sign, at + 1
            continue
        parts, literal = [*parts, *([literal] if literal else [])], ""
        if sign == "{":
            field, at = _braces(text, at)
            parts.append(field)
        elif sign == "[":
            inner, at = _phrase(text, at + 1, nested=True)
            parts.append(inner)
        elif sign == "]" and nested:
            return _closed(Phrase(tuple(parts)), start), at + 1
        else:
            raise TemplateError(f"{sign!r} closes nothing; write {sign * 2} for the character itself", at)
    if nested:
        raise TemplateError(
            "'[' is never closed; end the phrase with ] or write [[ for the character itself", start - 1
        )
    return Phrase((*parts, literal) if literal else tuple(parts)), at


def _closed(phrase: Phrase, start: int) -> Phrase:
    if not any(phrase.all_fields()):
        raise TemplateError(
            "[...] holds no field, so it can never vanish; write [[ and ]] for the characters", start - 1
        )
    return phrase


_QUOTED = re.compile(r"""\s*(["'])(?P<name>.*?)\1\s*(?P<filters>(\|[^{}]*)?)\}""")
_PLAIN = re.compile(r"(?P<name>[^{}|]*)(?P<filters>(\|[^{}|]*)*)\}")
_LEAD = re.compile(r"\s*(?P<article>[aA])n?(?P<for> for)?(?=\s*[}|]| )")


def _braces(text: str, start: int) -> tuple[Field, int]:
    """Parses one `{...}` that begins at `start`."""
    lead = _LEAD.match(text, start + 1)
    inner = lead.end() if lead else start + 1
    match = _QUOTED.match(text, inner) or _PLAIN.match(text, inner)
    if match is None:
        raise TemplateError("'{' is never closed; end the field with } or write {{ for the character itself", start)
    name = match["name"] if match.re is _QUOTED else " ".join(match["name"].split())
    filters = tuple(part.strip().lower() for part in match["filters"].split("|")[1:])
    for wrong in (part for part in filters if part not in FILTERS):
        raise TemplateError(f"unknown filter |{wrong}; there are {', '.join(FILTERS)}", start)
    if not name and (lead is None or lead["for"] or filters):
        raise TemplateError("{} names no field", start)
    article = lead["article"] if lead else ""
    return Field(name, start, article, noun=not (lead and lead["for"]), filters=filters), match.end()


def from_mapping(words: Mapping[str, Word | None]) -> Lookup:
    """A lookup over ready words, by field name."""
    return lambda field: words.get(field.name)
