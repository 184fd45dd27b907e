"""Wordings that fit any attribute, and which of them are kept out of training: shipped as prompts/wordings.yaml.

Which ones are kept out depends on their own text and on the prompts file, never on a seed: runs with other seeds, and a
base beside them, are then judged in the same words. What a prompts file trains with in its own templates or captions
cannot be kept out; another wording is then. Nothing here fills in a value.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

from clipadapt.keyed import integer
from clipadapt.prompts.definitions import ATTRIBUTE, AttributeWords, Entry
from clipadapt.prompts.held_out import sections
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.overlap import OTHER_MARK, Shape, caption_shapes, contains, held_out, shapes_of, trained
from clipadapt.prompts.template import Rules, Template

SHIPPED = "prompts/wordings.yaml"
HELD_OUT_SHARE = 1 / 3
"""Of the wordings, kept out of training."""
MOST_HELD_OUT = 8
"""Most of them: each costs a text encoding for every value that is judged."""
ANY = AttributeWords("", OTHER_MARK, ())
"""Whatever attribute a wording is for."""


class Family(NamedTuple):
    """The wordings that fit any attribute."""

    trained: tuple[Entry[Template], ...]
    held_out: tuple[Entry[Template], ...]
    words: tuple[str, ...]
    """Texts whose words are drawn around a value where a catalogue has no titles."""


def family_of(prompts: Prompts) -> Family:
    """The wordings beside a prompts file; in languages other than English those without words of their own."""
    library = _shipped().library
    entries = [entry for entry in library.other.templates if entry.weight] if library.other is not None else []
    if not prompts.library.rules.english:
        entries = [entry for entry in entries if _is_wordless(entry.what)]
    shapes = {entry.place: _shapes(entry.what, prompts) for entry in entries}
    file, kept = set(file_shapes(prompts)), held_out(entries)
    others = set().union(*(shapes[entry.place] for entry in trained(entries)))
    wanted = min(MOST_HELD_OUT, int(len(entries) * HELD_OUT_SHARE))
    for entry in sorted(trained(entries), key=lambda entry: integer("held-out wording", entry.what.text)):
        own = shapes[entry.place]
        if len(kept) < wanted and not any(contains(one, shape) for shape in own for one in file | (others - own)):
            kept.append(entry)
            others -= own
    return Family(tuple(e for e in entries if e not in kept), tuple(kept), prompts.library.words or library.words)


def file_shapes(prompts: Prompts) -> Iterator[Shape]:
    """Of everything a prompts file trains with: templates, plain texts and captions."""
    rules = prompts.library.rules
    for words in sections(prompts):
        templates = [entry.what for entry in trained(words.templates)]
        for template in (*templates, *([words.plain] if words.plain is not None else [])):
            yield from shapes_of(template, words, rules)
    for entry in trained(prompts.library.captions):
        yield from caption_shapes(entry.what, rules)


def _shapes(template: Template, prompts: Prompts) -> set[Shape]:
    """Of one of the wordings, for every attribute."""
    every = (*sections(prompts), ANY) if any(field.name == ATTRIBUTE for field in template.fields) else (ANY,)
    return {shape for words in every for shape in shapes_of(template, words, prompts.library.rules)}


def _is_wordless(template: Template) -> bool:
    shape = next(shapes_of(template, ANY, Rules()), ())
    return all(not word.isalnum() for word in shape)


@functools.cache
def _shipped() -> Prompts:
    return Prompts.load(SHIPPED)
