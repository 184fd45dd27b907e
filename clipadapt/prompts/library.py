"""Prompts: what a prompts file says about an item, an attribute's value, or a query.

    prompts = Prompts.load("prompts/fashion.yaml")
    prompts.caption(row, (seed, epoch, item))        # one training caption, another template each epoch
    prompts.captions(row)                            # every template, each value by its first name
    prompts.value_texts("Pattern", "Checked")        # the ensemble that recognises and finds a value ...
    prompts.value_weights("Pattern", "Checked")      # ... and the share of each text in the value's vector
    prompts.plain("Pattern", "Checked")              # one plain text
    prompts.rewordings("plaid shirt")                # a free-text query in the editor's synonyms

Templates weigh by `weight:`, and a value with three synonyms counts no more than one with a single name: a template's
weight is shared by the names it was filled with. Nothing here encodes a text or sees a picture.
"""

import dataclasses
import difflib
import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from clipadapt.errors import PromptError, listing
from clipadapt.keyed import generator
from clipadapt.prompts import schema, wording
from clipadapt.prompts.definitions import AttributeWords, Entry, Library
from clipadapt.prompts.document import Document
from clipadapt.prompts.template import Field, Lookup, Template
from clipadapt.prompts.wording import Synonyms, Text
from clipadapt.prompts.words import Word, spoken

log = logging.getLogger(__name__)


class Caption(NamedTuple):
    """A caption and the columns whose cells it states."""

    text: str
    columns: tuple[str, ...]


class Prompts:
    """A prompts file, ready to speak; equal files give equal texts."""

    def __init__(self, path: str, library: Library, digest: str):
        self.path = path
        """As it was given, for messages."""
        self.library = library
        self.digest = digest
        """Hash of the file's text."""
        self._ensembles: dict[tuple[str, str], list[Text]] = {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a file, or the shipped one of that name.

        Raises:
            PromptError: every fault of the file at once, each with line and column.
        """
        return cls._of(Document.read(path))

    @classmethod
    def parse(cls, text: str, name: str = "prompts") -> Self:
        """The same from text at hand, as an editor's unsaved buffer."""
        return cls._of(Document.parse(name, text))

    @classmethod
    def _of(cls, document: Document) -> Self:
        digest = hashlib.sha256(document.text.encode("utf-8")).hexdigest()
        return cls(document.name, schema.read(document), digest)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns the file words, in its order; others are worded by `other_attributes:` where the file has it."""
        return tuple(self.library.attributes)

    @property
    def fields(self) -> tuple[str, ...]:
        """Columns that captions name, each once."""
        return tuple(dict.fromkeys(field.name for entry in self.library.captions for field in entry.what.fields))

    @property
    def trained_fields(self) -> tuple[str, ...]:
        """Columns that captions name which training draws: neither held out nor of weight 0."""
        return tuple(dict.fromkeys(field.name for entry in self._drawn for field in entry.what.fields))

    @property
    def _drawn(self) -> list[Entry[Template]]:
        return [entry for entry in self.library.captions if entry.weight and not entry.held_out]

    def refuse_fitted(self, fingerprint: str) -> None:
        """Refuses the pictures that the file's weights were fitted on, told by their catalogue's fingerprint.

        Raises:
            PromptError: they are those.
        """
        fitted = self.library.fitted_on
        if fitted is not None and fingerprint and fitted.fingerprint == fingerprint:
            raise PromptError(
                f"{self.path}:{fitted.place.line}: its weights were fitted on these pictures ({fitted.split!r}), so "
                "a score on them means nothing; score another split"
            )

    def with_separators(self, separators: Mapping[str, str]) -> Self:
        """The same for a catalogue whose cells in some columns hold several values: column -> what separates them.

        Captions join the values whether or not the file has a `separator:` for the column, and by the catalogue's
        separator where they differ.
        """
        library = dataclasses.replace(self.library, separators=dict(separators))
        return type(self)(self.path, library, self.digest)

    def check(self, columns: Collection[str]) -> None:
        """Refuses a catalogue that lacks a column the file speaks of.

        Where the file says `missing_columns: allow`, a column that is nearly there under another name is logged.

        Raises:
            PromptError: all such columns, with file and line, and the nearest column there is.
        """
        lines: dict[str, list[int]] = {}
        for entry in self.library.captions:
            for field in entry.what.fields:
                lines.setdefault(field.name, []).append(entry.place.line)
        for name, words in self.library.attributes.items():
            lines.setdefault(name, []).append(words.place.line)
        faults = [
            f"{self.path}:{at[0]}: {name!r} is no column of the catalogue{_nearest(name, columns)}{_also(at)}"
            for name, at in lines.items()
            if name not in columns
        ]
        if self.library.missing_columns == "allow":
            for fault in (fault for fault in faults if "did you mean" in fault):
                log.warning("%s; it counts as empty", fault)
        elif faults:
            raise PromptError(
                f"{self.path}: {len(faults)} column(s) missing; correct the names, take them out, "
                f"or set `missing_columns: allow`{listing(faults)}"
            )

    def caption(self, row: Mapping[str, str], key: Sequence[int]) -> str:
        """One caption for an item; `key` is (seed, epoch, item).

        Over as many epochs as there are templates each is used about in proportion to its weight (exactly once each
        when weights are equal); synonyms are drawn anew each time.

        Raises:
            PromptError: no template gives a text for this item; names the item and what each template lacked.
            ValueError: a key of another length.
        """
        return self.stated(row, key).text

    def stated(self, row: Mapping[str, str], key: Sequence[int]) -> Caption:
        """The same caption with the columns it speaks of, to tell which other items it is true of."""
        if len(key) != 3:
            raise ValueError(f"a caption's key is (seed, epoch, item), got {len(key)} parts")
        seed, epoch, item = key
        usable = self._usable(row, item)
        cycle, turn = divmod(epoch, len(usable))
        slot = generator(seed, "caption order", item, cycle).permutation(len(usable))[turn]
        place = (slot + wording.uniform(seed, "caption", epoch, item)) / len(usable)
        template = wording.drawn(usable, [entry.weight for entry in usable], place).what
        lookup = self._lookup(row, key)
        return Caption(template.render(lookup, self.library.rules), tuple(template.stated(lookup)))

    def captions(self, row: Mapping[str, str]) -> list[str]:
        """What each usable template says of an item, values by their first names; equal captions once.

        Raises:
            PromptError: no template gives a text for this item.
        """
        lookup = self._lookup(row, None)
        return list(dict.fromkeys(entry.what.render(lookup, self.library.rules) for entry in self._usable(row)))

    def caption_of(self, template: Template, row: Mapping[str, str]) -> str:
        """What one template says of an item, values by their first names; empty when it cannot speak of it."""
        return template.render(self._lookup(row, None), self.library.rules)

    def lacking(self, template: Template, row: Mapping[str, str]) -> list[str]:
        """Columns that a template cannot do without and that are empty for this item."""
        return template.missing(self._lookup(row, None))

    def speaks_of(self, attribute: str) -> bool:
        """Whether the file has wording for an attribute."""
        return attribute in self.library.attributes or self.library.other is not None

    def wording(self, attribute: str) -> AttributeWords:
        """What the file says of an attribute: its templates with their weights and lines.

        Raises:
            PromptError: nothing, and it has no `other_attributes:` either.
        """
        words = self.library.attributes.get(attribute)
        if words is None and self.library.other is not None:
            words = dataclasses.replace(self.library.other, name=attribute, called=spoken(attribute))
        if words is None:
            near = _nearest(attribute, self.library.attributes)
            raise PromptError(
                f"{self.path}: no wording for attribute {attribute!r}{near}; "
                "add it under `attributes:`, or add `other_attributes:` for all that are not listed"
            )
        return words

    def ensemble(self, attribute: str, value: str) -> list[Text]:
        """All texts of a value with their shares and templates; texts may repeat.

        Raises:
            PromptError: the file has no wording for this attribute, or none of its templates fits the value.
        """
        if (attribute, value) not in self._ensembles:
            words = self.wording(attribute)
            texts = wording.ensemble(self.library, words, value)
            if not texts:
                raise PromptError(
                    f"{self.path}:{words.place.line}: no template of {attribute!r} gives a text for {value!r}; "
                    "add a template that needs no more than {value}"
                )
            self._ensembles[attribute, value] = texts
        return self._ensembles[attribute, value]

    def value_texts(self, attribute: str, value: str) -> list[str]:
        """The distinct texts that recognise and find a value; same order as `value_weights`."""
        return list(self._merged(attribute, value))

    def value_weights(self, attribute: str, value: str) -> list[float]:
        """The share of each of `value_texts` in the value's vector; they sum to 1."""
        return list(self._merged(attribute, value).values())

    def plain(self, attribute: str, value: str) -> str:
        """The one text of plain recognition: `plain:`, else the first template, with the value's first name."""
        words = self.wording(attribute)
        if words.plain is None or wording.is_absent(self.library, words, value):
            return self.ensemble(attribute, value)[0].text
        name = wording.names_of(self.library, words, value)[0].what
        return words.plain.render(wording.filled(words, value, name, None), self.library.rules)

    def attribute_text(self, attribute: str, value: str, key: Sequence[int]) -> str:
        """One text of the value's ensemble for training, drawn by its share with any key."""
        texts = self.ensemble(attribute, value)
        place = wording.uniform("attribute text", attribute, value, *key)
        return wording.drawn(texts, [text.share for text in texts], place).text

    def rewordings(self, query: str) -> list[str]:
        """The query first, then the same query with the file's other names for the values it mentions.

        Names that two values share are left alone. A search takes the mean of the vectors, `REWORDINGS` at most.
        """
        return self._synonyms.rewordings(query)

    @cached_property
    def _synonyms(self) -> Synonyms:
        return Synonyms(self.library)

    def _usable(self, row: Mapping[str, str], item: int | None = None) -> list[Entry[Template]]:
        lookup, drawn = self._lookup(row, None), self._drawn
        usable = [entry for entry in drawn if entry.what.speaks(lookup, self.library.rules)]
        if not usable:
            known = (item, row.get("id") or row.get("file_name") or None)
            who = " ".join(str(part) for part in known if part is not None)
            faults = [
                f"{self.path}:{entry.place.line}: {entry.what.text!r} "
                + (f"lacks {', '.join(lacking)}" if (lacking := entry.what.missing(lookup)) else "says nothing")
                for entry in drawn
            ] or [f"{self.path}: there are no `captions:`"]
            remedy = "add a template that needs no more than this item has"
            raise PromptError(f"{self.path}: no caption for item {who or '(unnamed)'}; {remedy}{listing(faults)}")
        return usable

    def _lookup(self, row: Mapping[str, str], key: Sequence[int] | None) -> Lookup:
        """What a caption's fields stand for in one item; a field said twice is said the same way."""
        said: dict[tuple[str, bool], Word | None] = {}

        def word(field: Field) -> Word | None:
            as_cell = "cell" in field.filters
            if (field.name, as_cell) not in said:
                cell = row.get(field.name)
                if cell is None and self.library.missing_columns == "error":
                    near = _nearest(field.name, row)
                    raise PromptError(f"{self.path}: {{{field.name}}} is no column of the catalogue{near}")
                known = wording.cell_word(self.library, field.name, cell or "", key)
                said[field.name, as_cell] = Word(cell or "") if as_cell and known else known
            return said[field.name, as_cell]

        return word

    def _merged(self, attribute: str, value: str) -> dict[str, float]:
        merged: dict[str, float] = {}
        for text in self.ensemble(attribute, value):
            merged[text.text] = merged.get(text.text, 0.0) + text.share
        return merged


def _also(lines: Sequence[int]) -> str:
    others = sorted(set(lines[1:]) - {lines[0]})
    return f" (also in line {', '.join(map(str, others))})" if others else ""


def _nearest(name: str, known: Collection[str]) -> str:
    folded = {spoken(column): column for column in known}
    close = difflib.get_close_matches(spoken(name), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
