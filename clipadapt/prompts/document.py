"""A YAML file whose every key and value has its line and column, so that a fault can be pointed at.

ruamel.yaml reads it and keeps the places. Keys and scalars stay the text that was typed (a value named No or 36 is not
turned into a boolean or a number), doubled keys are noted, and all faults of a file are collected before any is raised.
Nothing here knows what the keys mean.
"""

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from clipadapt.errors import PromptError, listing
from clipadapt.prompts.causes import TYPOGRAPHIC, cause, odd_space
from clipadapt.sections import locate


class Place(NamedTuple):
    """Where something stands in a file; lines and columns count from 1."""

    line: int
    column: int


NOWHERE = Place(0, 0)
"""The place of words that stand in no file: a value that goes by its own name."""


class Fault(NamedTuple):
    """What is wrong, and where."""

    place: Place
    message: str


class Item(NamedTuple):
    """A key's value or an entry of a list: a text, None where nothing was typed, a mapping or a list of ruamel.yaml."""

    what: Any
    place: Place
    key: Place = NOWHERE
    """Of the key before it."""


class Document:
    """One file, and the faults found in it so far."""

    def __init__(self, name: str, text: str, root: Item, faults: list[Fault]):
        self.name = name
        """The path as it was given, for messages."""
        self.text = text
        self.root = root
        self.faults = faults

    @classmethod
    def read(cls, path: str | Path) -> "Document":
        """Reads and parses a file.

        Raises:
            PromptError: no such file, not UTF-8, not YAML (with line, column and the usual cause), or an empty file.
        """
        try:
            text = locate(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise PromptError(f"{path}: no such file (looked in {Path.cwd()} and in the shipped prompts)") from error
        except UnicodeDecodeError as error:
            raise PromptError(f"{path}: is not UTF-8 text; save it as UTF-8 ({error.reason})") from error
        except OSError as error:
            raise PromptError(f"{path}: cannot be read: {error.strerror}") from error
        return cls.parse(str(path), text)

    @classmethod
    def parse(cls, name: str, text: str) -> "Document":
        """The same from text already at hand."""
        yaml = YAML(typ="rt", pure=True)
        yaml.preserve_quotes = True
        yaml.Constructor = _TypedText
        try:
            root = yaml.load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{mark.line + 1}:{mark.column + 1}: " if mark else " "
            why = cause(text, mark.line) if mark else ""
            raise PromptError(f"{name}:{place}not valid YAML: {error.problem}{why}") from error
        except YAMLError as error:
            raise PromptError(f"{name}: not valid YAML: {error}") from error
        if root is None:
            raise PromptError(f"{name}: is empty; a prompts file needs at least `captions:` or `attributes:`")
        return cls(name, text, Item(root, _place(root)), yaml.constructor.doubled)

    def fault(self, item: Item, message: str, offset: int = 0) -> None:
        """Notes a fault of an item, or of a character of its text; `raise_faults` reports all of them."""
        self.faults.append(Fault(self._within(item, offset) if offset else item.place, message))

    def _within(self, item: Item, offset: int) -> Place:
        """The place of a character of a text; of its beginning, where it is not in the file as it was read."""
        start = self._index(item.place)
        at = self.text.find(item.what, start, start + len(item.what) + 1)
        if at < 0:
            return item.place
        before = self.text[start : at + offset].rsplit("\n", 1)
        if len(before) == 1:
            return Place(item.place.line, item.place.column + len(before[0]))
        return Place(item.place.line + self.text.count("\n", start, at + offset), len(before[1]) + 1)

    def raise_faults(self) -> None:
        """Raises:
        PromptError: when any fault was noted, with all of them in the order of the file.
        """
        if self.faults:
            lines = [f"{self.name}:{place.line}:{place.column}: {text}" for place, text in sorted(self.faults)]
            raise PromptError(f"{self.name}: {len(lines)} fault(s){listing(lines)}")

    def mapping(self, item: Item, what: str, known: Sequence[str] = ()) -> dict[str, Item]:
        """Key -> its value; unknown keys are faults. `known` empty allows any key."""
        if not isinstance(item.what, CommentedMap):
            hint = "; indent the lines that belong to it further than its key" if item.what is None else ""
            self.fault(item, f"{what}: expected `key: ...` lines, found {kind(item)}{hint}")
            return {}
        entries: dict[str, Item] = {}
        for name, value in item.what.items():
            at = (item.what.lc.data or {}).get(name, [item.place.line - 1, item.place.column - 1] * 2)
            key = Place(at[0] + 1, at[1] + 1)
            entry = Item(value, key if value is None else Place(at[2] + 1, at[3] + 1), key)
            if not isinstance(name, str) or not name.strip():
                fault = f"{what}: a key has to be a word; put null, and texts that begin with {{ or [, in quotes"
                self.faults.append(Fault(entry.key, fault))
            elif self._mistyped(name, entry.key, what):
                continue
            elif known and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
                self.faults.append(Fault(entry.key, f"{what}: unknown key {str(name)!r}; {hint}"))
            else:
                entries[str(name)] = entry
        return entries

    def _mistyped(self, text: str, place: Place, what: str) -> bool:
        """Notes what a text without quotes says by mistake: odd spaces around it, printed quotes, a dash within it."""
        before = len(self.faults)
        if type(text) is not str:
            return False
        if odd := odd_space(text[:1] + text[-1:]):
            self.faults.append(Fault(place, f"{what}: {text!r} begins or ends with a {odd}; type plain spaces instead"))
        elif text[:1] in tuple(TYPOGRAPHIC):
            cure = 'use straight quotes ", around it too where it is part of the text'
            self.faults.append(Fault(place, f"{what}: begins with a typographic quote {text[0]}; {cure}"))
        elif " - " in text:
            start = self._index(place)
            written = re.compile(r"\s+".join(map(re.escape, text.split(" ")))).match(self.text, start)
            if written and (dash := re.search(r"\n\s*- ", written[0])):
                line = self.text.count("\n", 0, start + dash.end()) + 1
                message = f"the dash in line {line} continues the text before it; indent it like the entry before"
                self.faults.append(Fault(place, f"{what}: {message}"))
        return len(self.faults) > before

    def _index(self, place: Place) -> int:
        return sum(map(len, self.text.splitlines(keepends=True)[: place.line - 1])) + place.column - 1

    def text_of(self, item: Item, what: str) -> str | None:
        """A scalar's text as typed; anything else, or nothing, is a fault."""
        if isinstance(item.what, str):
            self._mistyped(item.what, item.place, what)
            return str(item.what)
        hint = "; put the text in quotes" if isinstance(item.what, CommentedMap | CommentedSeq) else ""
        self.fault(item, f"{what}: expected a text, found {kind(item)}{hint}")
        return None

    def number_of(self, item: Item, what: str) -> float | None:
        """A number of 0 or more."""
        try:
            number = float(item.what) if isinstance(item.what, str) else math.nan
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            found = repr(str(item.what)) if isinstance(item.what, str) else kind(item)
            self.fault(item, f"{what}: expected a number of 0 or more, found {found}")
            return None
        return number

    def list_of(self, item: Item) -> list[Item]:
        """The entries of a list; a single text or mapping counts as a list of one, nothing as an empty one."""
        if isinstance(item.what, CommentedSeq):
            return [Item(entry, _place(item.what, number)) for number, entry in enumerate(item.what)]
        return [] if item.what is None else [item]


class _TypedText(RoundTripConstructor):
    """Scalars stay the text that was typed, and of equal keys the first one stays while the others are noted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.doubled: list[Fault] = []

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key not in mapping:
            return True
        mark = key_node.start_mark
        message = f"{str(key)!r} is already there in line {mapping.lc.key(key)[0] + 1}; keep one of them"
        self.doubled.append(Fault(Place(mark.line + 1, mark.column + 1), message))
        return False


for _kind in ("bool", "int", "float", "timestamp"):
    _TypedText.add_constructor(f"tag:yaml.org,2002:{_kind}", RoundTripConstructor.construct_yaml_str)


def _place(node: Any, entry: int | None = None) -> Place:
    """Of a mapping or list, or of a list's entry; the file's beginning for a lone text."""
    if not isinstance(node, CommentedMap | CommentedSeq):
        return Place(1, 1)
    line, column = (node.lc.line, node.lc.col) if entry is None else node.lc.item(entry)
    return Place(line + 1, column + 1)


def kind(item: Item) -> str:
    """What an item is, in words for a message."""
    if item.what is None:
        return "nothing"
    if isinstance(item.what, CommentedMap):
        return "a mapping"
    if isinstance(item.what, CommentedSeq):
        return "a list"
    return f"the text {str(item.what)!r}" if isinstance(item.what, str) else "a tagged value"
