"""YAML files and the frozen pydantic models they are read into, with faults in words.

A file is looked for at its path and among the defaults that clipadapt ships. Every fault is reported at
once, with its key, what was found and what is allowed. Nothing here knows what a section means.
"""

import difflib
import os
import string
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipadapt.errors import ConfigError, listing

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old key -> its name now. A file that says the old one is refused with the new one named; files that clipadapt
    wrote itself are read with `with_new_names`."""


class FileSection(Section):
    """A section that is a whole file: a suite, a gate, a policy."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the file, or the shipped one of that name.

        Raises:
            ConfigError: no such file, no YAML, or any fault in it; all of them in one message.
        """
        raw = read_yaml(path)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            faults = describe(error, cls)
            raise ConfigError(f"{path}: {len(faults)} fault(s){listing(faults)}") from error


def with_new_names(raw: Mapping[str, Any], model: type[Section]) -> dict[str, Any]:
    """A mapping that an earlier version wrote, under the keys of this one; sections within it too."""
    found: dict[str, Any] = {}
    for key, value in raw.items():
        name = model.renamed.get(key, key)
        field = model.model_fields.get(name)
        inner = field.annotation if field is not None else None
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Section):
            value = with_new_names(value, inner)
        found[name] = value
    return found


def read_yaml(path: str | Path) -> dict[str, Any]:
    """One YAML mapping from a file; `~` and environment variables in the path are expanded.

    Raises:
        ConfigError: the file is missing, is not YAML (with line and column), or holds no mapping.
    """
    file = locate(path)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file (looked in {Path.cwd()} and in the shipped defaults)") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}:{place}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:  # characters that YAML forbids
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, found {type(raw).__name__}")
    return raw


def locate(path: str | Path) -> Path:
    """The file itself, or the one of that name that clipadapt ships (prompts/, configs/, eval/).

    An installed wheel holds them in clipadapt/defaults/, a working tree beside the package.
    """
    expanded = Path(os.path.expandvars(path)).expanduser()
    if expanded.exists() or expanded.is_absolute():
        return expanded
    package = Path(__file__).parent
    places = [package / "defaults"]
    if expanded.parts[:1] in {("prompts",), ("configs",), ("eval",)}:
        places.append(package.parent)
    return next((place / expanded for place in places if (place / expanded).exists()), expanded)


def put_override(raw: dict[str, Any], override: str) -> str | None:
    """Sets one dotted key in place; returns the fault, if any."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        return f"override {override!r}: write it as section.key=value"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return f"override {override!r}: the value is not valid YAML"
    *parents, last = key.split(".")
    node = raw
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            return f"override {override!r}: {parent} holds no keys of its own"
        node = child
    node[last] = value
    return None


def expand(node: Any, faults: list[str]) -> Any:
    """Fills ${NAME} in every text from the environment; a name that is not set is a fault, never an empty string."""
    if isinstance(node, dict):
        return {key: expand(value, faults) for key, value in node.items()}
    if isinstance(node, list):
        return [expand(value, faults) for value in node]
    if not isinstance(node, str) or "${" not in node:
        return node
    try:
        return string.Template(node).substitute(os.environ)
    except KeyError as missing:
        faults.append(f"{node!r}: the environment variable {missing.args[0]} is not set; export it, or write the path")
    except ValueError:
        faults.append(f"{node!r}: write an environment variable as ${{NAME}}")
    return node


def as_fraction(share: object) -> float:
    """A share as people write it, 5% or 0.05, as a fraction; not yet whether it lies between 0 and 1.

    Raises:
        ValueError: neither of the two; a bare number above 1 could be either.
    """
    if isinstance(share, str):
        number, percent, after = share.strip().partition("%")
        try:
            value = float(number + after)
        except ValueError:
            raise ValueError("write it as 5% or as 0.05") from None
        if percent:
            return value / 100
    elif isinstance(share, int | float) and not isinstance(share, bool):
        value = float(share)
    else:
        raise ValueError("write it as 5% or as 0.05")
    if value > 1:
        raise ValueError(f"could mean {value:g}% or {value:g} times the whole; write {value:g}%, or a fraction up to 1")
    return value


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Pydantic's faults as lines that name the key, what was found and what is allowed."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"]) or "(whole file)"
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key{_suggest(fault['loc'], model)}")
        elif fault["type"] == "missing":
            lines.append(f"{where}: missing, and it has no default")
        else:
            reason = str(fault.get("ctx", {}).get("error", fault["msg"]))
            found = "" if isinstance(fault["input"], Mapping) else f" (found {fault['input']!r})"
            text = fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float | date)
            cure = "; YAML takes words such as no, on, 007 and 2024-01-15 for other than text: put it in quotes"
            lines += [f"{where}: {part}{found}{cure if text else ''}" for part in reason.splitlines()]
    return lines


def _suggest(location: Sequence[int | str], model: type[BaseModel]) -> str:
    """What follows "unknown key": its name now, the closest one, or all there are."""
    node: Any = model
    for part in location[:-1]:
        field = node.model_fields.get(part) if hasattr(node, "model_fields") else None
        node = field.annotation if field is not None else None
    known: Mapping[str, Any] = getattr(node, "model_fields", {})
    if new := getattr(node, "renamed", {}).get(location[-1]):
        return f"; it is called {'.'.join(map(str, (*location[:-1], new)))} now, with the same meaning"
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else (f"; known keys: {', '.join(known)}" if known else "")
