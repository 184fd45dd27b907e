"""The form of a packet: facts with their sources, and what is missing, in words.

    Fact("balanced accuracy", "+4.1 [+2.0, +6.2]", "report/results.json, row 3")
    Section("Evaluation", facts=(...,), missing=("retention was not measured; ...",))

A fact without a source cannot be made. `read_document` is how parts open what other commands wrote.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt import places
from clipadapt.errors import UsageError
from clipadapt.evaluation.gate import Outcome


class Fact(NamedTuple):
    """One figure or statement."""

    what: str
    says: str
    source: str
    """File, and the place in it."""
    bad: bool = False
    """Whether a reviewer has to look at it first."""


class Section(NamedTuple):
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...] = ()
    missing: tuple[str, ...] = ()
    """What was not measured, or cannot be read, each with the remedy."""


class Packet(NamedTuple):
    """Everything that is written."""

    release: str
    name: str
    sections: tuple[Section, ...]
    outcomes: tuple[Outcome, ...]
    """Of the conditions on sensitive categories; none where no policy was named."""

    def without_folders(self) -> "Packet":
        """For people elsewhere: of absolute paths only the last part is left, in every text."""
        short = places.without_folders
        sections = tuple(
            Section(
                section.title,
                tuple(Fact(short(one.what), short(one.says), short(one.source), one.bad) for one in section.facts),
                tuple(map(short, section.missing)),
            )
            for section in self.sections
        )
        outcomes = tuple(one._replace(reason=short(one.reason)) for one in self.outcomes)
        return Packet(self.release, short(self.name), sections, outcomes)

    @property
    def missing(self) -> tuple[str, ...]:
        """All that was not measured."""
        return tuple(f"{section.title}: {line}" for section in self.sections for line in section.missing)

    @property
    def failed(self) -> tuple[str, ...]:
        """Why the packet does not pass."""
        failed = [one.reason for one in self.outcomes if not one.passed]
        return (
            *failed,
            *(f"{fact.what}: {fact.says}" for section in self.sections for fact in section.facts if fact.bad),
        )


def read_document(file: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """What another command wrote as JSON.

    Raises:
        UsageError: it cannot be read, or one of `keys` is not in it.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if missing := [key for key in keys if key not in document]:
            raise ValueError(f"no {', '.join(missing)}")
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{file}: is no evidence ({error}); name the JSON that the command wrote") from error
    return document
