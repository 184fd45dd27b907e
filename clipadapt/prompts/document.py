"""A YAML file whose every node knows its line and column, so that a fault can be pointed at.

Works on PyYAML's node tree rather than on loaded objects: keys and scalars stay the text that was typed (a value named
No or 36 is not turned into a boolean or a number), doubled keys are seen, and all faults of a file are collected before
any is raised. Nothing here knows what the keys mean.
"""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from clipadapt.errors import PromptError, listing
from clipadapt.sections import locate


class Place(NamedTuple):
    """Where something stands in a file; lines and columns count from 1."""

    line: int
    column: int


class Fault(NamedTuple):
    """What is wrong, and where."""

    place: Place
    message: str


class Document:
    """One file, and the faults found in it so far."""

    def __init__(self, name: str, text: str, root: yaml.Node):
        self.name = name
        """The path as it was given, for messages."""
        self.text = text
        self.root = root
        self.faults: list[Fault] = []

    @classmethod
    def read(cls, path: str | Path) -> "Document":
        """Composes the file's nodes.

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
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{mark.line + 1}:{mark.column + 1}: " if mark else " "
            raise PromptError(f"{name}:{place}not valid YAML: {error.problem}{_cause(text, mark)}") from error
        except yaml.YAMLError as error:
            raise PromptError(f"{name}: not valid YAML: {error}") from error
        if root is None:
            raise PromptError(f"{name}: is empty; a prompts file needs at least `captions:` or `attributes:`")
        return cls(name, text, root)

    def place(self, node: yaml.Node, offset: int = 0) -> Place:
        """Where a node begins, or a character of a scalar that stands in the file as it was read."""
        start = node.start_mark
        if offset and isinstance(node, yaml.ScalarNode):
            written = self.text[start.index : node.end_mark.index]
            at = written.find(node.value)
            if at >= 0:
                before = written[: at + offset]
                last = before.rfind("\n")
                column = start.column + len(before) if last < 0 else len(before) - last - 1
                return Place(start.line + before.count("\n") + 1, column + 1)
        return Place(start.line + 1, start.column + 1)

    def fault(self, node: yaml.Node, message: str, offset: int = 0) -> None:
        """Notes a fault; `raise_faults` reports all of them."""
        self.faults.append(Fault(self.place(node, offset), message))

    def raise_faults(self) -> None:
        """Raises:
        PromptError: when any fault was noted, with all of them in the order of the file.
        """
        if self.faults:
            lines = [f"{self.name}:{place.line}:{place.column}: {text}" for place, text in sorted(self.faults)]
            raise PromptError(f"{self.name}: {len(lines)} fault(s){listing(lines)}")

    def mapping(self, node: yaml.Node, what: str, known: Sequence[str] = ()) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key text -> (key node, value node); doubled and unknown keys are faults. `known` empty allows any key."""
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what}: expected `key: ...` lines, found {kind(node)}")
            return {}
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not isinstance(key, yaml.ScalarNode) or not name.strip():
                self.fault(key, f"{what}: a key has to be a word; put texts that begin with {{ or [ in quotes")
            elif name in entries:
                first = self.place(entries[name][0]).line
                self.fault(key, f"{what}: {name!r} is already there in line {first}; keep one of them")
            elif known and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
                self.fault(key, f"{what}: unknown key {name!r}; {hint}")
            else:
                entries[name] = (key, value)
        return entries

    def text_of(self, node: yaml.Node, what: str) -> str | None:
        """A scalar's text as typed; anything else, or nothing, is a fault."""
        if isinstance(node, yaml.ScalarNode) and not is_nothing(node):
            return node.value
        hint = "; put the text in quotes" if isinstance(node, yaml.MappingNode | yaml.SequenceNode) else ""
        self.fault(node, f"{what}: expected a text, found {kind(node)}{hint}")
        return None

    def number_of(self, node: yaml.Node, what: str) -> float | None:
        """A number of 0 or more."""
        try:
            number = float(node.value) if isinstance(node, yaml.ScalarNode) else math.nan
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            self.fault(node, f"{what}: expected a number of 0 or more, found {_shown(node)}")
            return None
        return number

    def list_of(self, node: yaml.Node) -> list[yaml.Node]:
        """The entries of a list; a single text or mapping counts as a list of one, nothing as an empty one."""
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        return [] if is_nothing(node) else [node]


def is_nothing(node: yaml.Node) -> bool:
    """An empty value (`key:`), as opposed to an empty text in quotes."""
    return (
        isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null" and node.value in ("", "~", "null")
    )


def kind(node: yaml.Node) -> str:
    """What a node is, in words for a message."""
    if is_nothing(node):
        return "nothing"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else f"the text {_shown(node)}"


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else kind(node)


def _cause(text: str, mark: yaml.Mark | None) -> str:
    """The usual reason for a YAML fault in a file of templates, read off the line it was found in or the one before."""
    lines = text.splitlines()
    if mark and (number := _unclosed(lines[: mark.line + 1])):
        return f" (line {number}: a quote is not closed)"
    near = [lines[at] for at in (mark.line, mark.line - 1) if mark and 0 <= at < len(lines)] if mark else []
    for line in near:
        content = line.split("- ", 1)[-1].split(": ", 1)[-1].strip()
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return " (indent with spaces, not with tabs)"
        if content[:1] in ("{", "[", "@", "`", "%", "&", "*", "!"):
            return f" (a text that begins with {content[0]} has to stand in quotes)"
        if ": " in content and content[:1] not in "\"'":
            return " (a text that holds a colon has to stand in quotes)"
    return ""


def _unclosed(lines: Sequence[str]) -> int:
    """The number of the last line whose text begins with a quote, in a list or not, that it does not close; else 0."""
    for number in range(len(lines), 0, -1):
        content = lines[number - 1].split("- ", 1)[-1].split(": ", 1)[-1].strip().lstrip("[{ ")
        quote = content[:1]
        if quote and quote in "\"'" and (content.count(quote) - content.count("\\" + quote)) % 2:
            return number
    return 0
