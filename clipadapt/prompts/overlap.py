"""Whether one text contains another, whatever the value: what keeps wordings for judging out of those for training.

Texts are compared as runs of words, without case, punctuation and hyphens: "V-neck, new" contains "v neck". A template
is compared as its shape: its words with a mark for the value and no articles, so that "a photo of a {value} shirt" is
seen to contain "photo of {value}". Nothing here draws anything.
"""

import re
from collections.abc import Iterable, Iterator

from clipadapt.prompts.definitions import DESCRIPTION, AttributeWords, Entry
from clipadapt.prompts.template import Field, Rules, Template
from clipadapt.prompts.wording import filled
from clipadapt.prompts.words import Word

Shape = tuple[str, ...]
"""Words in lower case."""
VALUE_MARK, OTHER_MARK = "\ue000", "\ue001"
"""Stand for the value and for any other words, as a description; from Unicode's private use, so in no text."""
_WORD = re.compile(r"""[^\W_]+|[^\w\s,.:;!?'"“”‘’()\[\]{}|‐‑–—-]""")
_ARTICLES = ("a", "an")


def shape_of(text: str) -> Shape:
    """A text's words; what consists of punctuation alone is one word."""
    return tuple(_WORD.findall(text.casefold())) or tuple(text.split())


def contains(outer: Shape, inner: Shape) -> bool:
    """Whether the words of `inner` stand in `outer` one after another."""
    size = len(inner)
    if inner and inner[0] not in outer:
        return False
    return any(outer[at : at + size] == inner for at in range(len(outer) - size + 1))


def contains_any(outer: Shape, inner: Iterable[Shape]) -> bool:
    return any(contains(outer, one) for one in inner)


def shapes_of(template: Template, words: AttributeWords, rules: Rules) -> Iterator[Shape]:
    """A template's shapes for an attribute: with a description and without, where it has room for one."""
    described = any(field.name == DESCRIPTION for field in template.fields)
    for description in (OTHER_MARK, None) if described else (None,):
        if text := template.render(filled(words, VALUE_MARK, Word(VALUE_MARK, ""), description), rules):
            yield without_articles(shape_of(text))


def caption_shapes(template: Template, rules: Rules) -> Iterator[Shape]:
    """A caption's shapes for each column it names: with all it can say besides, and with as little as it can say."""
    required = {field.name for field in template.root.fields()}
    for name in dict.fromkeys(field.name for field in template.fields if field.name):
        for least in (False, True):

            def word(field: Field, name: str = name, least: bool = least) -> Word | None:
                if field.name == name:
                    return Word(VALUE_MARK, "")
                return None if least and field.name not in required else Word(OTHER_MARK, "")

            if text := template.render(word, rules):
                yield without_articles(shape_of(text))


def trained(entries: Iterable[Entry]) -> list[Entry]:
    """What training may use."""
    return [entry for entry in entries if entry.weight and not entry.held_out]


def held_out(entries: Iterable[Entry]) -> list[Entry]:
    """What is kept for judging."""
    return [entry for entry in entries if entry.weight and entry.held_out]


def without_articles(shape: Shape) -> Shape:
    """The same, as templates choose articles by the value: "a striped" and "an embroidered" are alike to them."""
    return tuple(word for word in shape if word not in _ARTICLES) or shape


def naming(shape: Shape, name: Shape) -> Shape:
    """A template's shape with a name in place of its mark."""
    return tuple(part for word in shape for part in (name if word == VALUE_MARK else (word,)))
