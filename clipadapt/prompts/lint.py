"""What an editor should know about a prompts file before it is used: each finding with its line.

Errors make captions or recognition wrong, warnings make them worse, notes are worth knowing. The file is read alone, or
against a catalogue's rows; `fit` adds what only a model's tokenizer and text tower can tell. Nothing here reads
catalogues or models: rows come as mappings.
"""

import difflib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from clipadapt.prompts import publishing, wording
from clipadapt.prompts.definitions import NOWHERE, Entry
from clipadapt.prompts.document import Place
from clipadapt.prompts.family import family_of
from clipadapt.prompts.held_out import findings
from clipadapt.prompts.library import Prompts
from clipadapt.prompts.template import Field, Phrase, Template
from clipadapt.prompts.words import Word, indefinite

Level = Literal["error", "warning", "note"]
SHOWN = 5
"""Most examples that one finding lists."""
_BRACED = re.compile(r"[{}]")


class Finding(NamedTuple):
    """One thing to know, and where it stands."""

    place: Place
    level: Level
    message: str

    def line(self, path: str) -> str:
        """`file:line:column: level: message`, as editors jump to it."""
        return f"{path}:{self.place.line}:{self.place.column}: {self.level}: {self.message}"


class Kind(NamedTuple):
    """Items that read alike to the captions."""

    row: Mapping[str, str]
    first: str
    """How the first of them is called."""
    items: int


@dataclass(frozen=True)
class Source:
    """What lint needs of a catalogue: columns, values, and one row per distinct combination of caption fields."""

    columns: tuple[str, ...]
    values: Mapping[str, Counter[str]]
    """Column of an attribute -> value -> items."""
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, prompts: Prompts, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> "Source":
        """Goes through the rows once."""
        values: dict[str, Counter[str]] = {name: Counter() for name in prompts.attributes if name in columns}
        kinds: dict[tuple[str, ...], tuple[Mapping[str, str], str]] = {}
        counts: Counter[tuple[str, ...]] = Counter()
        for number, row in enumerate(rows):
            cells = tuple(row.get(field, "") for field in prompts.fields)
            counts[cells] += 1
            if cells not in kinds:
                kinds[cells] = (row, row.get("id") or row.get("file_name") or f"number {number}")
            for name, counted in values.items():
                separator = wording.separator_of(prompts.library, name)
                parts = row[name].split(separator) if separator else [row[name]]
                counted.update(value for part in parts if (value := part.strip()))
        return cls(tuple(columns), values, tuple(Kind(*kinds[cells], items) for cells, items in counts.items()))


def lint(prompts: Prompts, source: Source | None = None) -> list[Finding]:
    """All findings in the order of the file; columns and values are judged only when a source is given."""
    found = [*_names(prompts), *_shared_texts(prompts, source), *_shared_by_attributes(prompts, source)]
    if source is not None:
        found += [*_columns(prompts, source), *_values(prompts, source), *_captions(prompts, source)]
        found += _lists(prompts, source)
    found += _articles(prompts, source)
    held_out = findings(prompts, lambda attribute: values_of(prompts, attribute, source))
    published = publishing.findings(prompts, (kind.row for kind in source.kinds) if source is not None else ())
    found += [*(Finding(*one) for one in (*held_out, *published)), *_unjudged(prompts)]
    return sorted(set(found))


def listed(things: Iterable[str]) -> str:
    """The first few, quoted, each once, and how many more there are."""
    quoted = [repr(thing) for thing in dict.fromkeys(things)]
    more = f" and {len(quoted) - SHOWN} more" if len(quoted) > SHOWN else ""
    return ", ".join(quoted[:SHOWN]) + more


def values_of(prompts: Prompts, attribute: str, source: Source | None) -> list[str]:
    """The values that matter: those of the source, or the listed ones when there is no source."""
    if source is not None and source.values.get(attribute):
        return list(source.values[attribute])
    return list(prompts.library.attributes[attribute].values)


def _names(prompts: Prompts) -> Iterator[Finding]:
    for words in prompts.library.attributes.values():
        for value, said in words.values.items():
            names: dict[str, Place] = {}
            for name in said.names:
                folded = name.what.text.casefold()
                if folded in names:
                    first = names[folded].line
                    message = f"{words.name}: {value!r} has the name {name.what.text!r} twice (first in line {first})"
                    yield Finding(name.place, "warning", message)
                names.setdefault(folded, name.place)
                if _BRACED.search(name.what.text):
                    message = f"{words.name}: the braces in {name.what.text!r} are said as they stand"
                    yield Finding(name.place, "warning", f"{message}; only templates and captions have {{fields}}")


def _shared_texts(prompts: Prompts, source: Source | None) -> Iterator[Finding]:
    """Values that read alike: nothing can tell them apart by their texts."""
    for attribute, words in prompts.library.attributes.items():
        owners: dict[str, str] = {}
        texts = {value: _folded(prompts, attribute, value) for value in values_of(prompts, attribute, source)}
        pairs: dict[tuple[str, str], list[str]] = {}
        for value, own in texts.items():
            for text in sorted(own):
                if owners.setdefault(text, value) != value:
                    pairs.setdefault((owners[text], value), []).append(text)
        for (one, other), shared in pairs.items():
            place = words.values[other].place if other in words.values else words.place
            if texts[one] == texts[other]:
                message = f"{attribute}: {one!r} and {other!r} have the same texts, so they cannot be told apart"
                yield Finding(place, "error", f"{message}: {listed(shared)}")
            else:
                message = f"{attribute}: {one!r} and {other!r} share {len(shared)} text(s): {listed(shared)}"
                yield Finding(place, "warning", message)


def _shared_by_attributes(prompts: Prompts, source: Source | None) -> Iterator[Finding]:
    """Texts that say a value of one attribute and a value of another: they are trained as one and found as one."""
    owners: dict[str, tuple[str, str]] = {}
    shared: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for attribute in prompts.library.attributes:
        for value in values_of(prompts, attribute, source):
            for text in sorted(_folded(prompts, attribute, value)):
                other, its = owners.setdefault(text, (attribute, value))
                if other != attribute:
                    shared.setdefault((other, attribute), []).append((its, value, text))
    for (one, other), texts in shared.items():
        first = texts[0]
        message = f"{other}: {len(texts)} text(s) of its values are also texts of {one}: {listed(t[2] for t in texts)}"
        cure = (
            f"{one} {first[0]!r} and {other} {first[1]!r} cannot be told apart by it; let a template say which is meant"
        )
        yield Finding(place_of(prompts, other, first[1]), "warning", f"{message}; {cure}")


def _lists(prompts: Prompts, source: Source) -> Iterator[Finding]:
    """Columns whose cells hold several values, of which the file does not know."""
    library = prompts.library
    for column in dict.fromkeys((*library.attributes, *prompts.fields)):
        words = library.attributes.get(column)
        place = (
            words.place
            if words
            else next(e.place for e in library.captions if column in {f.name for f in e.what.fields})
        )
        own, real = words.separator if words else "", library.separators.get(column, "")
        cure = f"give it `separator: {json.dumps(real or '|')}` under `attributes:`"
        if real and own and own != real:
            yield Finding(
                place, "error", f"{column}: the catalogue separates its values by {real!r}, not {own!r}; {cure}"
            )
        elif real and not own:
            message = f"{column}: its cells hold several values, separated by {real!r}, which the file does not say"
            yield Finding(place, "warning", f"{message}; {cure}")
        elif not own:
            cells = [kind.row.get(column, "") for kind in source.kinds]
            joined = [*dict.fromkeys(cell for cell in cells if "|" in cell.strip("|"))]
            if joined:
                message = f"{column}: cells such as {listed(joined)} are said as they stand"
                yield Finding(place, "warning", f"{message}; where they hold several values, {cure}")


def _folded(prompts: Prompts, attribute: str, value: str) -> set[str]:
    return {text.casefold() for text in prompts.value_texts(attribute, value)}


def _unjudged(prompts: Prompts) -> Iterator[Finding]:
    """Attributes of which no wording is left that training does not use."""
    if family_of(prompts).held_out:
        return
    for words in prompts.library.attributes.values():
        if not any(entry.held_out and entry.weight for entry in words.templates):
            message = f"{words.name}: no wording is left that it could be judged in and is not trained with"
            yield Finding(words.place, "warning", f"{message}; mark one of its templates `held_out: true`")


def _columns(prompts: Prompts, source: Source) -> Iterator[Finding]:
    allowed = prompts.library.missing_columns == "allow"
    missing = [
        (entry.place, f"unknown field {{{field.name}}}", field.name)
        for entry in prompts.library.captions
        for field in entry.what.fields
    ]
    missing += [(words.place, f"attribute {name!r}", name) for name, words in prompts.library.attributes.items()]
    for place, what, name in missing:
        near = nearest(name, source.columns) if name not in source.columns else ""
        if name not in source.columns and not allowed:
            yield Finding(place, "error", f"{what}: no such column{near}")
        elif near:
            yield Finding(place, "warning", f"{what}: no such column, so it counts as empty{near}")
    absent = [*dict.fromkeys(name for _, _, name in missing if name not in source.columns)]
    if allowed and absent:
        message = f"{len(absent)} column(s) are not there and count as empty: {listed(absent)}"
        yield Finding(missing[0][0], "note", message)


def _values(prompts: Prompts, source: Source) -> Iterator[Finding]:
    for name, counted in source.values.items():
        words = prompts.library.attributes[name]
        if not counted:
            yield Finding(words.place, "warning", f"attribute {name!r}: every item's cell is empty")
            continue
        for value, said in words.values.items():
            if value not in counted:
                message = f"{name}: no item has the value {value!r}{nearest(value, counted)}"
                yield Finding(said.place, "warning", message)
        unlisted = [
            (value, items)
            for value, items in counted.most_common()
            if value not in words.values and value not in prompts.library.absent_cells
        ]
        braced = [value for value, _ in unlisted if _BRACED.search(value)]
        if braced:
            message = f"{name}: the braces in {listed(braced)} are said as they stand; list better names for them"
            yield Finding(words.place, "warning", message)
        if words.values and unlisted:
            shown = ", ".join(f"{value!r} ({items} items)" for value, items in unlisted[:SHOWN])
            more = f" and {len(unlisted) - SHOWN} more" if len(unlisted) > SHOWN else ""
            message = f"{name}: {len(unlisted)} value(s) are not listed and go by their own names: {shown}{more}"
            yield Finding(words.place, "note", message)


def _captions(prompts: Prompts, source: Source) -> Iterator[Finding]:
    unknown = {field.name for entry in prompts.library.captions for field in entry.what.fields} - {*source.columns}
    if unknown and prompts.library.missing_columns == "error":
        return
    speechless = [
        kind
        for kind in source.kinds
        if not any(entry.weight and prompts.caption_of(entry.what, kind.row) for entry in prompts.library.captions)
    ]
    if prompts.library.captions and speechless:
        items = sum(kind.items for kind in speechless)
        first = prompts.library.captions[0].place
        message = f"{items} item(s) get no caption from any template: {listed(kind.first for kind in speechless)}"
        yield Finding(first, "error", message)
    for entry in prompts.library.captions:
        if source.kinds and not any(prompts.caption_of(entry.what, kind.row) for kind in source.kinds):
            needs = listed(dict.fromkeys(field.name for field in entry.what.root.fields()))
            yield Finding(
                entry.place, "warning", f"no item has what this template needs ({needs or 'it says nothing'})"
            )
    seen: dict[tuple[str, ...], Entry[Template]] = {}
    for entry in prompts.library.captions:
        said = tuple(prompts.caption_of(entry.what, kind.row) for kind in source.kinds)
        first = seen.setdefault(said, entry)
        if first is not entry and any(said):
            message = f"says the same as line {first.place.line} for every item; raise that one's weight instead"
            yield Finding(entry.place, "warning", message)


def _articles(prompts: Prompts, source: Source | None) -> Iterator[Finding]:
    """`a {value}` written out, where the value begins with another sound or takes no article."""
    if not prompts.library.rules.english:
        return
    written = [(entry, field) for entry in prompts.library.captions for field in _literal_articles(entry.what.root)]
    for words in prompts.library.attributes.values():
        for entry in words.templates:
            own = [field for field in _literal_articles(entry.what.root) if field[1].name in ("value", words.name)]
            written += [(entry, (article, Field(words.name, field.offset))) for article, field in own]
    for entry, (article, field) in written:
        words = prompts.library.attributes.get(field.name)
        values = values_of(prompts, field.name, source) if words else []
        names = [name.what for value in values for name in wording.names_of(prompts.library, words, value)]
        wrong = [name.text for name in names if _article(name) != article]
        if wrong:
            message = f"'{article}' before {field.name} reads wrongly with {listed(wrong)}"
            yield Finding(entry.place, "warning", f"{message}; let {{a {field.name}}} choose it")


def _article(name: Word) -> str:
    return indefinite(name.sound) if name.article is None else name.article


def _literal_articles(phrase: Phrase) -> Iterator[tuple[str, Field]]:
    """("a" or "an", a field that may come right after it) wherever an article is written out before fields."""
    for number, part in enumerate(phrase.parts):
        if isinstance(part, Phrase):
            yield from _literal_articles(part)
        elif isinstance(part, str) and part.endswith(" ") and part.split()[-1:] in (["a"], ["an"], ["A"], ["An"]):
            article = part.split()[-1].lower()
            yield from ((article, field) for field in _next_fields(phrase.parts[number + 1 :]))


def _next_fields(parts: Sequence[str | Field | Phrase]) -> Iterator[Field]:
    """The fields that can begin what is said: phrases may vanish, so the search goes on behind them."""
    for part in parts:
        if isinstance(part, Phrase):
            yield from itertools.islice(_next_fields(part.parts), 1)
        elif isinstance(part, Field):
            if part.name and not part.article:
                yield part
            return
        elif part.strip():
            return


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar known name, if there is one; spaces, underscores and capitals count for nothing."""
    folded = {re.sub(r"[\s_-]", "", other).casefold(): other for other in known}
    close = difflib.get_close_matches(re.sub(r"[\s_-]", "", name).casefold(), folded, n=1, cutoff=0.75)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def place_of(prompts: Prompts, attribute: str, value: str) -> Place:
    """The line of a listed value, else of its attribute, else nowhere."""
    words = prompts.library.attributes.get(attribute)
    if words is None:
        return NOWHERE
    return words.values[value].place if value in words.values else words.place
