"""From a document's items to what a prompts file says; every fault is noted with its place, none is passed over.

A file may hold

    language: en                 # a/an and plurals have rules in English; other languages state them per value
    case: lower                  # how unlisted cells are written: lower | keep (as in the table) | sentence
    missing_columns: error       # allow: a column that a catalogue lacks counts as empty
    and: and                     # joins the values of a list
    not_applicable: {cells: [Not Applicable], texts: ["a product without {attribute}"]}
    captions: ["{a articleType}[ in {baseColour}]", {text: "...", weight: 2}]
    attributes:                  # by column
      Pattern:
        called: pattern          # {attribute} in its templates; the column's own name in words when not given
        separator: "|"           # a cell holds several values
        templates: ["{a value} garment", {text: "a garment[, {description}] ...", weight: 0.5}]
        plain: "a photo of {a value} garment"   # the one text of plain recognition; else the first template
        not_applicable: [...]    # texts for a cell that says there is no such thing; or {name: ..., texts: [...]}
        values:
          Checked: [checked, plaid, {text: gingham, weight: 0.5}]
          Jeans: {names: [jeans], article: a pair of, plural: jeans, descriptions: ["..."]}
    other_attributes: {templates: ["{attribute} {value}"], plain: ...}   # for attributes that are not listed
    words: [summer, city street] # stand at random around a value in training, where the catalogue has no titles
    weights_fitted_on: {split: tune, seed: 0, fingerprint: ...}   # written with fitted weights; not scored there

`held_out: true` on a {text: ...} of captions, of an attribute's templates or of a value's names keeps it out of
training; values are judged in it (see `wordings`).

Only structure is judged here; whether columns and values exist in a catalogue is for `Prompts.check` and lint.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from ruamel.yaml.comments import CommentedMap

from clipadapt.prompts.definitions import (
    ATTRIBUTE,
    DESCRIPTION,
    VALUE,
    AttributeWords,
    Entry,
    Fitted,
    Library,
    ValueWords,
)
from clipadapt.prompts.document import Document, Fault, Item, Place
from clipadapt.prompts.template import Field, Rules, Template, TemplateError
from clipadapt.prompts.words import Word, spoken

CASES = ("lower", "keep", "sentence")
KEYS = ("language", "case", "and", "missing_columns", "not_applicable", "captions", "attributes", "other_attributes",
        "words", "weights_fitted_on")  # fmt: skip
T = TypeVar("T")


def read(document: Document) -> Library:
    """What the document says.

    Raises:
        PromptError: any fault of structure or of a template; all of them in one message.
    """
    reader = _Reader(document)
    top = document.mapping(document.root, "the file", KEYS)
    language = reader.word(top, "language", "en")
    case = reader.choice(top, "case", CASES)
    reader.lowers = case != "keep"
    cells, absent, _ = reader.absent(top, "not_applicable", cells=True)
    attributes = reader.attributes(top)
    library = Library(
        rules=Rules(language, sentence=case == "sentence"),
        case=case,
        conjunction=reader.word(top, "and", "and"),
        missing_columns=reader.choice(top, "missing_columns", ("error", "allow")),
        captions=reader.captions(top),
        attributes=attributes,
        other=reader.attribute("", top["other_attributes"]) if "other_attributes" in top else None,
        absent_cells=frozenset(cells),
        absent=absent,
        fitted_on=reader.fitted(top),
        words=reader.words(top),
    )
    if not library.captions and not library.attributes and library.other is None and not document.faults:
        document.fault(
            document.root, "there are neither `captions:` nor `attributes:`; a prompts file needs one of them"
        )
    _spoken_for(document, reader, library)
    document.raise_faults()
    return library


def _spoken_for(document: Document, reader: "_Reader", library: Library) -> None:
    """In a language without rules here, {a X} and |plural need an `article:` and a `plural:` on X's listed values."""
    if library.rules.english:
        return
    for owner, wanted, template in reader.grammar:
        attribute = library.attributes.get(owner)
        values = attribute.values if attribute else {}
        silent = [name for name, words in values.items() if any(getattr(e.what, wanted) is None for e in words.names)]
        if silent or not values:
            who = ", ".join(map(repr, silent[:5])) if silent else "no value of it is listed"
            language = library.rules.language
            document.fault(
                template, f"{wanted} of {owner}: language {language} has no rules here; give `{wanted}:` for {who}"
            )


Entries = dict[str, Item]


class _Reader:
    """Reads the sections; notes faults in the document and the fields that want an article or a plural."""

    def __init__(self, document: Document):
        self.document = document
        self.lowers = True
        """Whether a value that is listed without a name goes by its own in lower case."""
        self.grammar: list[tuple[str, str, Item]] = []
        """(attribute, "article" or "plural", template)."""

    def word(self, entries: Entries, key: str, default: str) -> str:
        text = self.document.text_of(entries[key], key) if key in entries else default
        return text if text is not None else default

    def choice(self, entries: Entries, key: str, allowed: tuple[str, ...]) -> str:
        chosen = self.word(entries, key, allowed[0])
        if chosen not in allowed:
            self.document.fault(entries[key], f"{key}: {chosen!r} is not one of {', '.join(allowed)}")
        return chosen

    def fitted(self, top: Entries) -> Fitted | None:
        """`weights_fitted_on:`, which `prompts weigh` writes."""
        if "weights_fitted_on" not in top:
            return None
        fitted = top["weights_fitted_on"]
        entries = self.document.mapping(fitted, "weights_fitted_on", ("split", "seed", "fingerprint"))
        seed = self.word(entries, "seed", "0")
        if not seed.isdecimal():
            self.document.fault(entries["seed"], f"weights_fitted_on: seed: expected a whole number, found {seed!r}")
            seed = "0"
        split, fingerprint = self.word(entries, "split", ""), self.word(entries, "fingerprint", "")
        return Fitted(split, fingerprint, fitted.key, int(seed))

    def captions(self, top: Entries) -> tuple[Entry[Template], ...]:
        """`captions:`, of which one at least has to be trained with."""
        found = self.templates(top, "captions", "captions", {}, ("held_out",))
        if found and not any(entry.weight and not entry.held_out for entry in found):
            message = "captions: none is left to train with; take `held_out: true` or `weight: 0` off one of them"
            self.document.fault(top["captions"], message)
        return found

    def words(self, top: Entries) -> tuple[str, ...]:
        """`words:`, texts that hold one or more."""
        found = self.texts(top["words"], "words", lambda text, _, __: text) if "words" in top else ()
        return tuple(dict.fromkeys(entry.what for entry in found))

    def attributes(self, top: Entries) -> dict[str, AttributeWords]:
        if "attributes" not in top:
            return {}
        sections = self.document.mapping(top["attributes"], "attributes")
        return {name: self.attribute(name, item) for name, item in sections.items()}

    def attribute(self, name: str, item: Item) -> AttributeWords:
        """One section of `attributes:`, or `other_attributes:` when `name` is empty."""
        what = f"attribute {name!r}" if name else "other_attributes"
        own = ("called", "separator", "values") if name else ()
        entries = self.document.mapping(item, what, (*own, "templates", "plain", "not_applicable"))
        templates = self.templates(entries, "templates", f"{what}: templates", _own_fields(name), ("held_out",))
        always = {key: owner for key, owner in _own_fields(name).items() if key != DESCRIPTION}
        plain = self.templates(entries, "plain", f"{what}: plain", always)
        for entry in (*templates, *plain):
            if not any(f.name in (VALUE, name) for f in entry.what.fields if f.name):
                message = f"{what}: a template has to name {{value}}, else all values read the same"
                self.document.faults.append(Fault(entry.place, message))
        if "templates" not in entries:
            self.document.faults.append(
                Fault(item.key, f"{what}: `templates:` is missing; give at least one text with {{value}}")
            )
        listed = "values" in entries and entries["values"].what is not None
        values = self.document.mapping(entries["values"], f"{what}: values") if listed else {}
        _, absent, absent_name = self.absent(entries, f"{what}: not_applicable", cells=False)
        return AttributeWords(
            name=name,
            called=self.word(entries, "called", spoken(name)),
            templates=templates,
            plain=plain[0].what if plain else None,
            values={value: self.value(value, said, f"{what}: {value}") for value, said in values.items()},
            absent=absent,
            absent_name=absent_name,
            separator=self.word(entries, "separator", ""),
            place=item.key,
        )

    def value(self, name: str, item: Item, what: str) -> ValueWords:
        """A name, a list of names, or a mapping with names, article, plural and descriptions."""
        if not isinstance(item.what, CommentedMap) or "text" in item.what:
            names = self.names(item, what, name)
            if not names:
                self.document.fault(item, f"{what}: how is it said? give at least one name, or leave the line out")
            return ValueWords(names, place=item.key)
        entries = self.document.mapping(item, what, ("names", "article", "plural", "descriptions"))
        names = self.names(entries["names"], what, name) if "names" in entries else ()
        names = names or (Entry(Word(name.lower() if self.lowers else name, written=name), 1.0, item.key),)
        article = self.form(entries, "article")
        plural = self.form(entries, "plural")
        said = [
            Word(
                entry.what.text,
                article if entry.what.article is None else entry.what.article,
                plural if entry.what.plural is None and at == 0 else entry.what.plural,
                entry.what.written,
            )
            for at, entry in enumerate(names)
        ]
        descriptions = ()
        if "descriptions" in entries:
            descriptions = self.texts(entries["descriptions"], what, lambda text, _, __: text)
        filled = tuple(dataclasses.replace(entry, what=word) for word, entry in zip(said, names, strict=True))
        return ValueWords(filled, descriptions, item.key)

    def names(self, item: Item, what: str, value: str) -> tuple[Entry[Word], ...]:
        """Names of a value: texts, or {text: ..., weight: ..., article: ..., plural: ...}."""

        def word(text: str, _: Item, entries: Entries) -> Word:
            written = value if text.casefold() == value.casefold() else text
            return Word(text, self.form(entries, "article"), self.form(entries, "plural"), written)

        found = self.texts(item, what, word, ("article", "plural", "held_out"))
        own = {entry.what.text.casefold() for entry in found if entry.held_out}
        if " ".join(value.split()).casefold() in own and not any(e.weight and not e.held_out for e in found):
            message = f"{what}: every name is held out, the table's own spelling too; leave one to train with"
            self.document.fault(item, message)
        return found

    def form(self, entries: Entries, key: str) -> str | None:
        """`article:` or `plural:`; the word none means that there is none."""
        text = self.word(entries, key, "") if key in entries else None
        return "" if text == "none" else text

    def flag(self, item: Item, what: str) -> bool:
        """true or false."""
        text = self.document.text_of(item, what)
        if text is not None and text.lower() not in ("true", "false"):
            self.document.fault(item, f"{what}: expected true or false, found {text!r}")
        return text is not None and text.lower() == "true"

    def absent(self, entries: Entries, what: str, *, cells: bool) -> tuple[list[str], tuple[Entry[Template], ...], str]:
        """A `not_applicable:` section: its cells (file level), its texts, its name in captions (attribute level)."""
        if "not_applicable" not in entries:
            return [], (), ""
        section = entries["not_applicable"]
        inner: Entries = {"texts": section}
        if isinstance(section.what, CommentedMap):
            inner = self.document.mapping(section, what, ("cells", "texts") if cells else ("name", "texts"))
        listed = self.document.list_of(inner["cells"]) if "cells" in inner else []
        read_cells = [text for cell in listed if (text := self.document.text_of(cell, f"{what}: cells")) is not None]
        if cells and not read_cells:
            self.document.fault(section, f"{what}: give `cells:`, the words in the table that mean it")
        return read_cells, self.templates(inner, "texts", what, {ATTRIBUTE: ""}), self.word(inner, "name", "")

    def templates(
        self, entries: Entries, key: str, what: str, fields: Mapping[str, str], more: tuple[str, ...] = ()
    ) -> tuple[Entry[Template], ...]:
        """The templates under a key; `fields` maps the names allowed in them to the attribute each speaks of."""
        if key not in entries:
            return ()

        def parse(text: str, item: Item, _: Entries) -> Template | None:
            try:
                template = Template.parse(text)
            except TemplateError as fault:
                self.document.fault(item, f"{what}: {fault}", fault.offset)
                return None
            for f in template.fields:
                if fields and f.name not in fields:
                    allowed = ", ".join(f"{{{name}}}" for name in fields)
                    self.document.fault(item, f"{what}: {{{f.name}}} is not known here; there are {allowed}", f.offset)
                self._note_grammar(fields.get(f.name, f.name), f, item)
            return template

        found = self.texts(entries[key], what, parse, more)
        seen: dict[str, Place] = {}
        for entry in found:
            if (first := seen.setdefault(entry.what.text, entry.place)) != entry.place:
                message = f"{what}: the same template as in line {first.line}; raise its weight instead"
                self.document.faults.append(Fault(entry.place, message))
        return found

    def _note_grammar(self, owner: str, part: Field, item: Item) -> None:
        if part.article and owner:
            self.grammar.append((owner, "article", item))
        if "plural" in part.filters and owner:
            self.grammar.append((owner, "plural", item))

    def texts(
        self,
        listed: Item,
        what: str,
        make: Callable[[str, Item, Entries], T | None],
        more: tuple[str, ...] = (),
    ) -> tuple[Entry[T], ...]:
        """A list whose entries are texts or {text: ..., weight: ...}, with `more` keys where they are allowed.

        `held_out` among them is read here, the others are for `make`.
        """
        found: list[Entry[T]] = []
        for item in self.document.list_of(listed):
            entries: Entries = {"text": item}
            if isinstance(item.what, CommentedMap):
                entries = self.document.mapping(item, what, ("text", "weight", *more))
                if "text" not in entries:
                    self.document.fault(item, f"{what}: an entry needs `text:`, or just the text in quotes")
                    continue
            weight: float | None = 1.0
            held_out = "held_out" in entries and self.flag(entries["held_out"], f"{what}: held_out")
            if "weight" in entries:
                weight = self.document.number_of(entries["weight"], f"{what}: weight")
            written = entries["text"]
            text = self.document.text_of(written, what)
            if text is not None and not text.strip():
                self.document.fault(written, f"{what}: the text is empty")
            elif text is not None and (made := make(text, written, entries)) is not None and weight is not None:
                found.append(Entry(made, weight, written.place, held_out))
        if found and not any(entry.weight for entry in found):
            self.document.fault(listed, f"{what}: every weight is 0, so nothing would ever be said")
        return tuple(found)


def _own_fields(name: str) -> dict[str, str]:
    """Names allowed in an attribute's templates -> the attribute they speak of."""
    return {VALUE: name, ATTRIBUTE: "", DESCRIPTION: "", **({name: name} if name else {})}
