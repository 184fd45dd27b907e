"""A first prompts file for a catalogue nobody has worded yet: plain, complete, and full of comments.

Every item gets a caption and every attribute its texts, so that training can start at once; the words are those of the
table, for nobody else's are known. The grammar of the values is not known either, so attributes are named beside them
("pattern striped") unless the values already say what they are ("slim fit"). Nothing here looks at a source.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clipadapt.prompts.words import spoken

MOST_LISTED = 40
"""Values written out per attribute, the most frequent ones; the rest go by their own names."""

_NOUN = re.compile(r"(article|product|item|garment|object|sub)?[ _]?(type|category|class|label|kind|subject)$")
_WORD = re.compile(r"[^\W\d_](?:[\w &/'-]*\w)?")
_KEYWORD = re.compile(r"true|false|yes|no|on|off|y|n|null", re.IGNORECASE)
_COLOUR = re.compile(r"colou?r")


class Words(NamedTuple):
    """One attribute to word."""

    column: str
    values: Sequence[tuple[str, int]]
    """Values with their items, most frequent first."""
    separator: str = ""
    everywhere: bool = False
    """Whether every item has a value."""


def starter(
    name: str, attributes: Sequence[Words], *, caption: str | None = None, absent: Sequence[str] = (), columns: int = 0
) -> str:
    """The text of a prompts file for these attributes and, if there is one, a column of ready captions."""
    noun = noun_of(attributes)
    lines = [
        f"# Words for {name}: what pictures are trained with, and what values are recognised and searched by.",
        "#",
        "# {Column} is what the item's row says; [phrases] in brackets vanish when a column in them is empty.",
        '# {a Column} writes "a" or "an" with it; {a for Column} writes the article alone, earlier in the text.',
        "# Make it yours: give values the names that people use, say what they look like, delete what reads badly.",
        "# prompts/fashion.yaml shows more. See the effect of every edit:",
        f"#   clipadapt prompts preview prompts/{name}.yaml --config configs/{name}.yaml",
        f"#   clipadapt prompts lint prompts/{name}.yaml --config configs/{name}.yaml",
        "",
        "language: en",
        "case: lower   # words that are not listed below are written in lower case; keep: as in the table",
        "",
    ]
    if absent:
        cells = ", ".join(map(scalar, absent))
        lines += ["not_applicable:   # cells that say there is no such thing; an empty cell means nobody knows"]
        lines += [f"  cells: [{cells}]", '  texts: ["something without {attribute}"]', ""]
    lines += ["captions:", *_captions(attributes, noun, caption), "", "attributes:", ""]
    for words in attributes:
        lines += [*_attribute(words, is_noun=words is noun), ""]
    if not attributes:
        lines = lines[: lines.index("attributes:")]
    return "\n".join(lines).rstrip() + "\n"


def noun_of(attributes: Sequence[Words]) -> Words | None:
    """The attribute that says what a picture shows, if one is named like that: the one with the most values."""
    found = [words for words in attributes if _NOUN.fullmatch(spoken(words.column)) and not words.separator]
    return max(found, key=lambda words: (words.everywhere, len(words.values)), default=None)


def field(column: str, before: str = "") -> str:
    """A field in braces, in quotes where the column's name would be misread."""
    odd = re.search(r"""[{}|"']""", column) or re.match(r"[aA]n?( |$)", column) or column != " ".join(column.split())
    quote = "'" if '"' in column else '"'
    return f"{{{before}{quote}{column}{quote}}}" if odd else f"{{{before}{column}}}"


def scalar(text: str) -> str:
    """A key or a word as YAML wants it, in quotes unless it is a plain word to every YAML parser."""
    if _WORD.fullmatch(text) and not _KEYWORD.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(sign if sign.isprintable() else f"\\U{ord(sign):08X}" for sign in escaped) + '"'


def _captions(attributes: Sequence[Words], noun: Words | None, caption: str | None) -> Iterator[str]:
    colour = next((w for w in attributes if _COLOUR.search(spoken(w.column)) and not w.separator), None)
    others = [words for words in attributes if words is not noun and words is not colour]
    phrases = "".join(f"[, {_phrase(words)}]" for words in others)
    if noun is not None:
        adjective = f"[{field(colour.column)} ]" if colour else ""
        article = "" if _plural(noun) else field(noun.column, "a for ") + " "
        thing = f"{article}{adjective}{field(noun.column)}"
        yield _item(f"a photo of {thing}{phrases}", "everything that is known of the item")
        yield _item(thing)
        for words in others:
            yield _item(f"{article}{field(noun.column)}, {_phrase(words)}")
    if caption is not None:
        yield _item(field(caption)[:-1] + "|cell}", "the table's own text, as it stands")
    if noun is None or not noun.everywhere:
        known = [words for words in (colour, *others) if words is not None]
        rest = "".join(f"[, {_phrase(words)}]" for words in known)
        yield _item(f"a photo{rest}", "says something of every item, even of one nobody knows anything of")


def _item(template: str, comment: str = "") -> str:
    return f"  - {json.dumps(template, ensure_ascii=False)}" + (f"   # {comment}" if comment else "")


def _phrase(words: Words) -> str:
    value = field(words.column)
    called = re.sub(r"[\[\]{}]", " ", spoken(words.column))
    return value if _says_itself(words) else f"{called} {value}"


def _says_itself(words: Words) -> bool:
    """Whether most values already hold a word of the column's name: "slim fit" of Fit, "short sleeves"."""
    stems = [word[:5] for word in spoken(words.column).split() if len(word) > 2]
    said = sum(items for value, items in words.values if any(stem in value.lower() for stem in stems))
    return said > 0.5 * sum(items for _, items in words.values)


def _plural(words: Words) -> bool:
    """Whether the values are mostly plurals, as categories of shops are: "Shirts", "Casual Shoes" take no article."""
    several = sum(items for value, items in words.values if re.search(r"[^s]s$", value.strip().lower()))
    return several > 0.5 * sum(items for _, items in words.values)


def _attribute(words: Words, *, is_noun: bool) -> Iterator[str]:
    yield f"  {scalar(words.column)}:"
    if words.separator:
        yield f"    separator: {json.dumps(words.separator)}   # a cell holds several values"
    if is_noun:
        value = "{value}" if _plural(words) else "{a value}"
        templates = [f"a photo of {value}", value]
    elif _COLOUR.search(spoken(words.column)):
        templates = ["a photo of something {value}", "{a value} object"]
    elif _says_itself(words):
        templates = ["a photo, {value}", "something with {value}"]
    else:
        templates = ["a photo, {attribute} {value}", "{attribute}: {value}"]
    yield "    templates:"
    yield from (f"      - {json.dumps(template)}" for template in templates)
    yield f"    plain: {json.dumps(templates[0])}"
    listed = words.values[:MOST_LISTED]
    if listed:
        yield "    values:   # the table's word: [how it is said, another name, ...]"
    for value, items in listed:
        said = " ".join(value.split()).lower()
        yield f"      {scalar(value)}: [{scalar(said)}]   # {items} items"
    if len(words.values) > len(listed):
        yield f"      # {len(words.values) - len(listed)} rarer values go by their own names until they are listed"
