"""The values and columns that a query can speak of: those of a prompts file, of an index's table, or both.

    vocabulary = Vocabulary.of(index.items, prompts)
    vocabulary.senses("tshirt")             # (Value("articleType", "Tshirts"),)
    vocabulary.columns["price"]             # Quantity("price", "number", ...)

Where both know an attribute, the file's names join the table's spelling. A value of a column that the file does not
speak of gives way to one that it does. Values are looked up by their key (words.py): as typed, then in the singular.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import names_of
from clipadapt.prompts.words import spoken
from clipadapt.search.columns import standing
from clipadapt.search.items import ID, PRODUCT, VECTOR, Items
from clipadapt.search.understanding.grammar import Grammar
from clipadapt.search.understanding.spelling import Spelling
from clipadapt.search.understanding.words import key, named
from clipadapt.search.views import Texts

_PARTICIPLE = 6
"""Letters of the shortest word on -ed whose stem names the same: stripes for striped, not r for red."""
_PRICE = re.compile(r"price|cost|amount|preis|prix|precio", re.IGNORECASE)
_YEAR = re.compile(r"year|jahr|année|año", re.IGNORECASE)
Measure = Literal["number", "date", "ordered"]


class Value(NamedTuple):
    """A value of an attribute, as tables write it."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"{self.attribute}: {self.value}"


class Quantity(NamedTuple):
    """A column that is compared with numbers or dates."""

    name: str
    measure: Measure
    """ordered: texts that are ordered by the numbers among them, such as sizes."""
    money: bool = False
    year: bool = False
    values: tuple[str, ...] = ()
    """Of an ordered column: the numbers among its texts, which conditions list."""


class Vocabulary:
    """What is known; equal contents understand a text alike."""

    def __init__(
        self,
        names: Mapping[Value, Sequence[str]],
        quantities: Sequence[Quantity] = (),
        *,
        called: Mapping[str, Sequence[str]] | None = None,
        several: Iterable[str] = (),
        language: str = "en",
        common: Iterable[str] = (),
    ) -> None:
        """
        Args:
            names: each value's names; its own spelling is one of them in any case.
            called: attribute or column -> what people call it, beside the words of its name.
            several: attributes of which an item can have several values.
            common: words that are no misspelling of anything, as those of titles.
        """
        self.values = frozenset(names)
        self.attributes = tuple(dict.fromkeys(value.attribute for value in names))
        self.columns = {one.name: one for one in quantities}
        self.several = frozenset(several)
        self.grammar = Grammar.of(language)
        self._exact: dict[str, dict[Value, None]] = {}
        self._loose: dict[str, dict[Value, None]] = {}
        places: dict[str, set[str]] = {}
        for name in (*self.attributes, *self.columns):
            for words in (spoken(name), *(called or {}).get(name, ())):
                if parts := named(words):
                    places.setdefault(key(parts), set()).add(name)
        self.called = {word: frozenset(names) for word, names in places.items()}
        """Name of an attribute or column, as a key -> those that are called so."""
        for value, given in names.items():
            for name in (value.value, *given):
                self._add(value, named(name))
        self.longest = max((len(named(name)) for value, given in names.items() for name in (value.value, *given)),
                           default=0)  # fmt: skip
        keys = {form for form in (*self._exact, *self._loose) if not form.isdigit()}
        self.spelling = Spelling(keys, {*common, *self.grammar.words, *self.called})

    def senses(self, form: str, typed: str = "") -> tuple[Value, ...]:
        """The values of a name by its key, the spelling as typed first; none where it is no name."""
        return tuple(self._exact.get(typed, ()) or self._loose.get(form, ()) or self._loose.get(typed, ()))

    def _add(self, value: Value, words: list[str]) -> None:
        if not words:
            return
        self._exact.setdefault("".join(words), {})[value] = None
        self._loose.setdefault(key(words), {})[value] = None
        last = words[-1]
        if last.endswith("ed") and len(last) >= _PARTICIPLE:
            stem = last[:-3] if last[-3] == last[-4] and last[-3] not in "ls" else last[:-2]
            for form in (stem, last[:-1]):
                whole = "".join((*words[:-1], form))
                if whole not in self.called:  # pattern is an attribute before it is patterned
                    self._loose.setdefault(whole, {})[value] = None

    @classmethod
    def of_values(cls, attributes: Mapping[str, Sequence[str]]) -> "Vocabulary":
        """Values by their own spelling alone."""
        return cls({Value(name, value): () for name, values in attributes.items() for value in values})

    @classmethod
    def of(cls, items: Items | None, prompts: Prompts | None = None, more: Iterable[Value] = ()) -> "Vocabulary":
        """Of an index's items, a prompts file, or both.

        Args:
            more: values known elsewhere, such as those whose probabilities were calibrated.
        """
        names: dict[Value, list[str]] = {}
        called: dict[str, list[str]] = {}
        quantities: list[Quantity] = []
        several: set[str] = set()
        columns = items.columns if items is not None else None
        if prompts is not None:
            for name, words in prompts.library.attributes.items():
                if columns is not None and name not in columns:
                    continue
                called.setdefault(name, []).append(words.called)
                for value, said in words.values.items():
                    held_out = [entry.what.text for entry in said.names if entry.held_out]
                    trained = [entry.what.text for entry in names_of(prompts.library, words, value)]
                    plural = [entry.what.plural for entry in said.names if entry.what.plural]
                    names[Value(name, value)] = [*trained, *held_out, *plural]
        listed = {value.attribute for value in names}
        absent = prompts.library.absent_cells if prompts is not None else frozenset[str]()
        known = {"".join(named(name)) for value, given in names.items() for name in (value.value, *given)}
        common: set[str] = set()
        for name in columns or ():
            if items is None or name in (ID, PRODUCT, VECTOR):
                continue
            view = items.view(name)
            if not isinstance(view, Texts):
                quantities.append(Quantity(name, "date" if view.dates else "number", *_marks(name)))
                continue
            if view.rows is not None:
                several.add(name)
            if items.names_products(name):
                common.update(word for text in view.values[:20_000] for word in named(text))
                continue
            if view.order is not None:
                quantities.append(Quantity(name, "date" if view.order == "dates" else "ordered", *_marks(name)))
                if view.order == "dates":
                    continue
            elif len(numbers := tuple(value for value in view.values if _is_number(value))) > 1:
                quantities.append(Quantity(name, "ordered", *_marks(name), numbers))
            for value in view.values:
                own = Value(name, value)
                if value not in absent and (name in listed or "".join(named(value)) not in known):
                    names.setdefault(own, [])
        for value in more:
            if value.value not in absent and (columns is None or value.attribute in columns):
                names.setdefault(value, [])
        language = prompts.library.rules.language if prompts is not None else "en"
        return cls(names, quantities, called=called, several=several, language=language, common=common)


def _is_number(text: str) -> bool:
    return not math.isnan(standing(text, "numbers"))


def _marks(name: str) -> tuple[bool, bool]:
    return bool(_PRICE.search(name)), bool(_YEAR.search(name))
