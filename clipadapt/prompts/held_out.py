"""What a prompts file marks `held_out: true`, and what training cannot use because it contains it.

The file's editor is told of every conflict; `Wordings` leaves such templates and names out. Nothing here draws.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from clipadapt.prompts import wording
from clipadapt.prompts.definitions import NOWHERE, AttributeWords, Entry
from clipadapt.prompts.document import Place
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.overlap import OTHER_MARK, Shape, contains, held_out, shape_of, shapes_of, trained

Found = tuple[Place, Literal["error", "warning"], str]


def held_names(prompts: Prompts) -> dict[Shape, Place]:
    """The names that are held out, of every value of every attribute, and where they stand."""
    return {
        shape_of(entry.what.text): entry.place
        for words in prompts.library.attributes.values()
        for said in words.values.values()
        for entry in held_out(said.names)
    }


def held_shapes(prompts: Prompts, words: AttributeWords) -> dict[Shape, Place]:
    """The templates that are held out, of every attribute, as they would speak of this one, and where they stand."""
    return {
        shape: entry.place
        for section in sections(prompts)
        for entry in held_out(section.templates)
        for called in dict.fromkeys((section.called, words.called))
        for shape in shapes_of(entry.what, replace(section, called=called), prompts.library.rules)
    }


def sections(prompts: Prompts) -> list[AttributeWords]:
    """Every attribute's section, and that of all others, whose attribute is then called by a mark."""
    library = prompts.library
    other = library.other
    marked = [] if other is None else [AttributeWords("", OTHER_MARK, other.templates, other.plain)]
    return [*library.attributes.values(), *marked]


def findings(prompts: Prompts, values: Callable[[str], Sequence[str]]) -> Iterator[Found]:
    """Conflicts, for lint; `values` gives those of an attribute that matter."""
    names = held_names(prompts)
    for words in sections(prompts):
        marked = held_out(words.templates)
        if marked and not trained(words.templates):
            who = words.name or "other_attributes"
            message = f"{who}: every template is held out, so it is trained in generic wordings alone"
            yield marked[0].place, "warning", f"{message} (prompts/wordings.yaml); leave one to train with"
        yield from _templates(prompts, words, held_shapes(prompts, words))
        for value in values(words.name) if words.name else ():
            yield from _names(prompts, words, value, names)


def _templates(prompts: Prompts, words: AttributeWords, held: dict[Shape, Place]) -> Iterator[Found]:
    plain = [Entry(words.plain, 1.0, words.place)] if words.plain is not None else []
    for entry in (*trained(words.templates), *plain):
        for shape in shapes_of(entry.what, words, prompts.library.rules):
            inner = next((held[one] for one in held if contains(shape, one)), None)
            if inner is not None:
                message = f"{entry.what.text!r} contains the template of line {inner.line}, which is held out"
                yield entry.place, "warning", f"{message}, so nothing is trained with it; change one of them"


def _names(prompts: Prompts, words: AttributeWords, value: str, held: dict[Shape, Place]) -> Iterator[Found]:
    said = {entry.what.text: entry.place for entry in wording.names_of(prompts.library, words, value)}
    said.setdefault(wording.own_name(prompts.library, value).text, NOWHERE)
    caught = {text: next((held[one] for one in held if contains(shape_of(text), one)), None) for text in said}
    at = words.values[value].place if value in words.values else words.place
    if all(place is not None for place in caught.values()):
        message = f"{words.name}: every name of {value!r} is or contains one that is held out"
        yield at, "error", f"{message}, so nothing is left to train with; give it another"
        return
    for text, place in caught.items():
        if place is not None and said[text] != NOWHERE:
            message = f"{words.name}: the name {text!r} of {value!r} is or contains that of line {place.line}"
            yield said[text], "warning", f"{message}, which is held out, so nothing is trained with it"
