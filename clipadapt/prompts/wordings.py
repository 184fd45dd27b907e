"""What a value may be called in training, and what it is called when a model is judged in words it never saw.

    wordings = Wordings(prompts, catalogue.titles, values={"Pattern": ["Solid", "Striped"]})
    wordings.training("Pattern", "Solid", (seed, step, 3))   # "a photo of a plain garment", "cotton solid summer kurta"
    wordings.held_out("Pattern", "Solid")                    # [("looking for solid", 0.125), ...]; shares sum to 1
    wordings.filler((seed, step, 4))                         # "cotton summer kurta": says nothing of any value

A tower that is taught a value in a few fixed sentences learns the sentences. So a draw puts one of the value's names
into one of the file's templates, into one of a family of generic ones, or among random words of the catalogue's titles.
The table's own spelling is always among the names. What the file marks `held_out: true`, and a third of the generic
wordings, is never drawn, nor is any text that contains it. Draws depend on their key alone. Nothing here encodes.
"""

import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clipadapt.errors import PromptError
from clipadapt.keyed import generator
from clipadapt.prompts import overlap, wording
from clipadapt.prompts.definitions import AttributeWords, Entry
from clipadapt.prompts.family import ANY, family_of, file_shapes
from clipadapt.prompts.held_out import held_names, held_shapes, sections
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.overlap import (
    OTHER_MARK,
    VALUE_MARK,
    Shape,
    contains_any,
    naming,
    shape_of,
    shapes_of,
    without_articles,
)  # fmt: skip
from clipadapt.prompts.template import Template
from clipadapt.prompts.words import Word, pluralise

FILE, GENERIC, RANDOM_WORDS = 0.3, 0.3, 0.4
"""Shares of the draws: the file's templates, the generic ones, random words around the value."""
OWN_SPELLING = 0.4
"""Share of the table's own spelling among a value's names, besides what it has as one of the file's names."""
SPACED, PLURAL, TITLE = 0.1, 0.05, 0.05
"""Shares of the variants of a name: hyphens as spaces, plural, capitals."""
MOST_WORDS = 6
"""Most random words of a text; at least one."""
HELD_OUT_TEXTS = 8
"""Most texts that a value is judged by, each a text encoding."""
_TRIES = 32
"""Draws before the texts are gone through one by one for one that contains nothing held out."""
_TITLE_WORD = re.compile(r"[^\W\d_]{3,20}")


class _Value(NamedTuple):
    """What a value is trained with."""

    names: tuple[Word, ...]
    weights: tuple[float, ...]
    """Of the names."""
    templates: tuple[Entry[Template], ...]
    """The file's that have something to say of it, and contain none that is held out."""


class _Templates(NamedTuple):
    """What an attribute is trained with: templates that contain none that is held out."""

    file: list[Entry[Template]]
    generic: list[Entry[Template]]
    kept_out: set[Shape]
    """Of those that are held out, the file's and the generic ones."""


class Wordings:
    """What a value may be called, in training and when judged."""

    def __init__(
        self,
        prompts: Prompts,
        titles: Sequence[str] = (),
        *,
        seed: int = 0,
        values: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Goes through the file and the titles once; needs no more memory than the titles' distinct words.

        Args:
            titles: the catalogue's, for random words; without, the file's `words:` or the shipped ones.
            seed: of the draws of training; what is held out does not depend on it.
            values: attribute -> the catalogue's values, whose words are then not drawn at random; those that the
                file lists never are.

        Raises:
            PromptError: a listed value, or one of `values`, that has no name left to train with.
        """
        self._prompts = prompts
        self._seed = seed
        self._family = family_of(prompts)
        named = {name: tuple(words.values) for name, words in prompts.library.attributes.items()}
        for name, catalogued in (values or {}).items():
            named[name] = tuple(dict.fromkeys((*named.get(name, ()), *catalogued)))
        self._held_names = set(held_names(prompts))
        self._values: dict[tuple[str, str], _Value] = {}
        self._templates: dict[str, _Templates] = {}
        self._judged: dict[tuple[str, str], set[Shape]] = {}
        for name, some in named.items():
            if not prompts.speaks_of(name):
                continue
            words = prompts.wording(name)
            for value in some:
                if not wording.is_absent(prompts.library, words, value):
                    self._names_of(words, value)
        self._vocabulary = _Vocabulary(titles or self._family.words, self._words_of_values(named))

    def training(self, attribute: str, value: str, key: Sequence[int]) -> str:
        """One text for a value, by its key.

        Raises:
            PromptError: the file has no wording for the attribute, or nothing is left that may be trained with.
        """
        words = self._prompts.wording(attribute)
        if wording.is_absent(self._prompts.library, words, value):
            return self._prompts.attribute_text(attribute, value, (self._seed, *key))
        for attempt in range(_TRIES):
            random = generator(self._seed, "wording", attribute, value, attempt, *key)
            text = self._draw(words, value, random)
            if text and not self._is_held(attribute, value, text):
                return text
        for text in self._every(words, value):
            if not self._is_held(attribute, value, text):
                return text
        raise PromptError(
            f"{self._prompts.path}:{words.place.line}: {attribute}: every wording of {value!r} contains one that is "
            "held out, so that nothing is left to train with; take `held_out: true` off some"
        )

    def held_out(self, attribute: str, value: str) -> list[tuple[str, float]]:
        """(text, share) that training never uses, at most `HELD_OUT_TEXTS`; a not-applicable cell's own texts.

        The table's own spelling and the names marked held out, in turn, in the attribute's templates that are marked
        held out, else in the generic ones that are kept out of training. Where neither is left, the bare spelling, of
        which lint warns.

        Raises:
            PromptError: the file has no wording for the attribute.
        """
        library, words = self._prompts.library, self._prompts.wording(attribute)
        if wording.is_absent(library, words, value):
            return [(text.text, text.share) for text in self._prompts.ensemble(attribute, value)]
        names = self._judged_names(words, value)
        for entries in (overlap.held_out(words.templates), self._family.held_out):
            if texts := self._filled(entries[:HELD_OUT_TEXTS], words, value, names):
                total = sum(texts.values())
                return [(text, share / total) for text, share in texts.items()]
        name = self._spelling(words, value).text
        return [(name, 1.0)]

    def spelling(self, attribute: str, value: str) -> str:
        """A value as the table writes it, in the case of the file's texts."""
        return self._spelling(self._prompts.wording(attribute), value).text

    def names(self, attribute: str, value: str) -> list[str]:
        """What a value is called: as the table writes it, then the file's names, those that are held out among them."""
        words = self._prompts.library.attributes.get(attribute)
        listed = words.values[value].names if words is not None and value in words.values else ()
        return [value, *(entry.what.text for entry in listed)]

    @property
    def english(self) -> bool:
        """Whether names have an English plural."""
        return self._prompts.library.rules.english

    def trained_names(self, attribute: str, value: str) -> list[str]:
        """What training may call a value; of a not-applicable cell nothing, for its texts name none.

        Raises:
            PromptError: the file has no wording for the attribute.
        """
        words = self._prompts.wording(attribute)
        if wording.is_absent(self._prompts.library, words, value):
            return []
        return [name.text for name in self._value_of(words, value).names]

    @property
    def words_beside_values(self) -> set[str]:
        """Those of every template, the file's and the generic ones, and those that are drawn at random."""
        prompts, rules = self._prompts, self._prompts.library.rules
        entries = [(words, entry) for words in sections(prompts) for entry in words.templates]
        entries += [(ANY, entry) for entry in (*self._family.trained, *self._family.held_out)]
        shapes = [shape for words, entry in entries for shape in shapes_of(entry.what, words, rules)]
        words = {word for shape in (*file_shapes(prompts), *shapes) for word in shape}
        return {word for word in words | set(self._vocabulary.words) if word not in (VALUE_MARK, OTHER_MARK)}

    def filler(self, key: Sequence[int]) -> str:
        """One to `MOST_WORDS` random words that say nothing of any value."""
        random = generator(self._seed, "filler", *key)
        return " ".join(self._vocabulary.draw(random, int(random.integers(1, MOST_WORDS + 1))))

    def _draw(self, words: AttributeWords, value: str, random: np.random.Generator) -> str:
        """Empty where what was drawn is held out with any name; with this one, a text may still be."""
        kind, place, which, form = random.random(4)
        _, generic, kept_out = self._templates_of(words)
        known = self._value_of(words, value)
        name = self._variant(wording.drawn(known.names, known.weights, which), form)
        shares = (FILE * bool(known.templates), GENERIC * bool(generic), RANDOM_WORDS * bool(self._vocabulary))
        source = wording.drawn((known.templates, generic, None), shares, kind) if any(shares) else ()
        if source == ():
            return name.text
        if source is None:
            around = self._vocabulary.draw(random, int(random.integers(1, MOST_WORDS + 1)))
            at = int(random.integers(len(around) + 1))
            unusable = contains_any((*around[:at], VALUE_MARK, *around[at:]), kept_out)
            return "" if unusable else " ".join((*around[:at], name.text, *around[at:]))
        template = wording.drawn(source, [entry.weight for entry in source], place).what
        descriptions = wording.descriptions_of(words, value, template)
        chosen = descriptions[int(random.integers(len(descriptions)))]
        return self._render(template, words, value, name, chosen.what if chosen else None)

    def _variant(self, name: Word, place: float) -> Word:
        """The name, or now and then another way to write it."""
        if place < SPACED:
            return name._replace(text=name.text.replace("-", " "))
        if place < SPACED + PLURAL and self._prompts.library.rules.english and name.article in (None, "a", "an"):
            return Word(name.plural or pluralise(name.text), "")
        if place > 1 - TITLE:
            return name._replace(text=string.capwords(name.text))
        return name

    def _render(
        self, template: Template, words: AttributeWords, value: str, name: Word, description: str | None
    ) -> str:
        return template.render(wording.filled(words, value, name, description), self._prompts.library.rules)

    def _every(self, words: AttributeWords, value: str) -> Iterator[str]:
        """Every name in every template, plainly."""
        known = self._value_of(words, value)
        for name in known.names:
            for entry in (*known.templates, *self._templates_of(words).generic):
                yield self._render(entry.what, words, value, name, None)

    def _filled(
        self, entries: Sequence[Entry[Template]], words: AttributeWords, value: str, names: Sequence[Word]
    ) -> dict[str, float]:
        """Text -> weight: names take turns, so that all values share their templates and each costs as many texts."""
        texts: dict[str, float] = {}
        each = max(1, min(len(names), HELD_OUT_TEXTS // max(len(entries), 1)))
        for turn, entry in enumerate(entries):
            described = wording.descriptions_of(words, value, entry.what)[0]
            for more in range(each):
                name = names[(turn + more) % len(names)]
                text = self._render(entry.what, words, value, name, described.what if described else None)
                if text:
                    texts[text] = texts.get(text, 0.0) + entry.weight / each
        return texts

    def _templates_of(self, words: AttributeWords) -> _Templates:
        if words.name not in self._templates:
            rules = self._prompts.library.rules
            kept_out = {shape for entry in self._family.held_out for shape in shapes_of(entry.what, words, rules)}
            kept_out.update(held_shapes(self._prompts, words))

            def free(entry: Entry[Template]) -> bool:
                return not any(contains_any(shape, kept_out) for shape in shapes_of(entry.what, words, rules))

            file = [entry for entry in overlap.trained(words.templates) if free(entry)]
            generic = [entry for entry in self._family.trained if free(entry)]
            self._templates[words.name] = _Templates(file, generic, kept_out)
        return self._templates[words.name]

    def _is_held(self, attribute: str, value: str, text: str) -> bool:
        """Whether a text contains a held-out name, or a name of the value in a template that is held out.

        Not only by its own template and name: "clearly photo" as a name says "clearly {value}" of the name "photo".
        """
        words = self._prompts.wording(attribute)
        if (attribute, value) not in self._judged:
            names = (*self._value_of(words, value).names, *self._judged_names(words, value))
            shapes = {without_articles(shape_of(name.text)) for name in names}
            kept_out = self._templates_of(words).kept_out
            self._judged[attribute, value] = {naming(template, name) for template in kept_out for name in shapes}
        shape = shape_of(text)
        named = contains_any(shape, self._held_names)
        return named or contains_any(without_articles(shape), self._judged[attribute, value])

    def _spelling(self, words: AttributeWords, value: str) -> Word:
        """The table's spelling, with the grammar that the file gives this name, or the value."""
        word = wording.own_name(self._prompts.library, value)
        listed = [entry.what for entry in words.values[value].names] if value in words.values else []
        same = next((name for name in listed if name.text.casefold() == word.text.casefold()), None)
        if same is not None:
            return word._replace(article=same.article, plural=same.plural)
        return word._replace(article=listed[0].article) if listed else word

    def _value_of(self, words: AttributeWords, value: str) -> _Value:
        if (words.name, value) not in self._values:
            names, weights = zip(*self._names_of(words, value), strict=True)
            file = self._templates_of(words).file
            templates = tuple(entry for entry in file if self._says(entry.what, words, value))
            self._values[words.name, value] = _Value(names, weights, templates)
        return self._values[words.name, value]

    def _says(self, template: Template, words: AttributeWords, value: str) -> bool:
        described = wording.descriptions_of(words, value, template)[0]
        lookup = wording.filled(words, value, Word(VALUE_MARK), described.what if described else None)
        return template.speaks(lookup, self._prompts.library.rules)

    def _names_of(self, words: AttributeWords, value: str) -> list[tuple[Word, float]]:
        """The names of a value that training may use, and their weights.

        Raises:
            PromptError: each of them is, or contains, one that is held out.
        """
        listed = wording.names_of(self._prompts.library, words, value)
        total = sum(entry.weight for entry in listed)
        weighed = [(self._spelling(words, value), OWN_SPELLING)]
        weighed += [(entry.what, (1 - OWN_SPELLING) * entry.weight / total) for entry in listed if entry.weight]
        left = [(word, weight) for word, weight in weighed if not contains_any(shape_of(word.text), self._held_names)]
        if not left:
            raise PromptError(
                f"{self._prompts.path}:{words.place.line}: {words.name}: every name of {value!r} is or contains one "
                "that is held out, so that nothing is left to train with; give it another, or take `held_out: true` "
                "off one"
            )
        return left

    def _judged_names(self, words: AttributeWords, value: str) -> list[Word]:
        """The table's spelling, then the names that are held out."""
        listed = words.values[value].names if value in words.values else ()
        names = [self._spelling(words, value), *(entry.what for entry in overlap.held_out(listed))]
        return list({name.text.casefold(): name for name in reversed(names)}.values())[::-1]

    def _words_of_values(self, named: Mapping[str, Sequence[str]]) -> set[str]:
        """The words of every name of every value, in English also as plurals."""
        every = {
            word
            for attribute, values in named.items()
            for value in values
            for text in self.names(attribute, value)
            for word in shape_of(text)
        }
        return every | ({pluralise(word) for word in every} if self._prompts.library.rules.english else set())


class _Vocabulary:
    """The words of texts without some, to be drawn by how often they stand there; false when there are none."""

    def __init__(self, texts: Sequence[str], without: set[str]) -> None:
        counts = Counter(word.casefold() for text in texts for word in _TITLE_WORD.findall(text))
        self.words = [word for word in sorted(counts) if word not in without]
        self._edges = np.cumsum([counts[word] for word in self.words])

    def __bool__(self) -> bool:
        return bool(self.words)

    def draw(self, random: np.random.Generator, number: int) -> list[str]:
        """So many words.

        Raises:
            PromptError: there are none.
        """
        if not self.words:
            raise PromptError(
                "there are no words to draw at random that belong to no value; give the prompts file a list `words:`"
            )
        places = np.searchsorted(self._edges, random.random(number) * self._edges[-1], side="right")
        return [self.words[min(int(place), len(self.words) - 1)] for place in places]
