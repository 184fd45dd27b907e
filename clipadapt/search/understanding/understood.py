"""What a query was understood as: parts that together hold every word of it, their checks, and the line that explains.

    found = checked("skirt, not mini, under 50", reading, vocabulary)
    found.explain()            "skirt · not Length: Mini · price < 50"
    found.wanted               (("articleType", "Skirts"),)      each any of several values
    found.positive             "skirt": what is encoded
    found.without(1)           the same with its second part taken out

Every reading goes through `checked`, whoever made it: values and columns must be known, and words that no part holds
become words to search for. What is odd is said in `notes`: a contradiction, a value that two attributes share. Nothing
here reads a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from clipadapt.errors import UsageError
from clipadapt.search.filters import Condition
from clipadapt.search.understanding.vocabulary import Value, Vocabulary
from clipadapt.search.understanding.words import tokens

Kind = Literal["words", "wanted", "unwanted", "condition"]
_LOOSE_ENDS = frozenset({"and", "but", "or", "with", "und", "aber", "et", "mais", "y", "pero"})
"""Words that joined what was cut out to what is left."""
_SIGNS = " \t\n,;:·-–—&/|+."


class Part(NamedTuple):
    """Some neighbouring characters of a query, and what they mean."""

    start: int
    end: int
    kind: Kind
    values: tuple[Value, ...] = ()
    """Of a wanted part any will do, of an unwanted one none may be there."""
    conditions: tuple[Condition, ...] = ()
    """All must hold."""


class Reading(NamedTuple):
    """What a parser makes of a text, before its checks."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    """What could not be understood, and what was taken for something else."""


@dataclass(frozen=True)
class Understood:
    """A query, understood."""

    text: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]
    wanted: tuple[tuple[Value, ...], ...]
    """All of them, of each any value; values of an attribute of which an item has one are in one of them."""
    unwanted: tuple[Value, ...]
    conditions: tuple[Condition, ...]

    @property
    def plain(self) -> bool:
        """Whether nothing was understood but words, so that a search goes as if nobody had tried."""
        return not (self.wanted or self.unwanted or self.conditions)

    @property
    def words(self) -> str:
        """The words that name nothing."""
        return " ".join(self.text[part.start : part.end] for part in self.parts if part.kind == "words")

    @property
    def positive(self) -> str:
        """The text to encode: what is not wanted and conditions are cut out of it."""
        if all(part.kind in ("words", "wanted") for part in self.parts) and self._whole():
            return self.text
        kept = [self.text[part.start : part.end] for part in self.parts if part.kind in ("words", "wanted")]
        words = " ".join(" ".join(kept).split()).strip(_SIGNS).split(" ")
        while words and words[0].casefold() in _LOOSE_ENDS:
            del words[0]
        while words and words[-1].casefold() in _LOOSE_ENDS:
            del words[-1]
        return " ".join(words)

    @property
    def searchable(self) -> bool:
        """Whether it says what to look for, and not only what not to."""
        return bool(self.positive)

    def without(self, place: int) -> "Understood":
        """The same without one of its parts.

        Raises:
            UsageError: no such part.
        """
        if not 0 <= place < len(self.parts):
            raise UsageError(f"part {place} of a query of {len(self.parts)}; name one from 0 to {len(self.parts) - 1}")
        kept = tuple(part for number, part in enumerate(self.parts) if number != place)
        gone = self.parts[place]
        wanted = tuple(one for one in self.wanted if any(set(one) & set(p.values) for p in kept if p.kind == "wanted"))
        wanted = tuple(tuple(value for value in one if _named(kept, value, "wanted")) for one in wanted)
        return replace(
            self, parts=kept, wanted=wanted,
            unwanted=tuple(value for value in self.unwanted if _named(kept, value, "unwanted")),
            conditions=tuple(c for part in kept for c in part.conditions) if gone.conditions else self.conditions,
        )  # fmt: skip

    def explain(self) -> str:
        """One line: words first, then what is wanted, what is not, and conditions, in the order of the query."""
        said = [self.words] if self.words else []
        for part in self.parts:
            if part.kind == "wanted":
                said.append(_either(part.values, " or "))
            elif part.kind == "unwanted":
                said += [f"not {value}" for value in dict.fromkeys(part.values)]
            elif part.kind == "condition":
                said += map(str, part.conditions)
        return " · ".join(said)

    def to_json(self) -> dict[str, Any]:
        """What the service and `--json` say of it."""
        parts = [
            {
                "kind": part.kind,
                "text": self.text[part.start : part.end],
                "values": [value._asdict() for value in part.values],
                "conditions": [str(one) for one in part.conditions],
                "columns": [one.column for one in part.conditions],
                "without": self._cut(part),
            }
            for part in self.parts
        ]
        return {"text": self.text, "explained": self.explain(), "parts": parts, "notes": list(self.notes)}

    def _cut(self, part: Part) -> str:
        """The text without a part, as somebody would type it."""
        return f"{self.text[: part.start].rstrip(_SIGNS)} {self.text[part.end :].lstrip(_SIGNS)}".strip(_SIGNS)

    def _whole(self) -> bool:
        at = 0
        for token in tokens(self.text):
            if token.kind == "sign":
                continue
            while at < len(self.parts) and self.parts[at].end < token.end:
                at += 1
            if at == len(self.parts) or self.parts[at].start > token.start:
                return False
        return True


def checked(text: str, reading: Reading, vocabulary: Vocabulary) -> Understood:
    """A reading that may be searched with.

    Raises:
        UsageError: parts that overlap or lie outside the text, or a value or column that is not known.
    """
    parts = _covering(text, sorted(reading.parts))
    for part in parts:
        shown = text[part.start : part.end]
        if (part.kind in ("wanted", "unwanted")) != bool(part.values) or (part.kind == "condition") != bool(
            part.conditions
        ):
            raise UsageError(f"{shown!r}: a part of kind {part.kind!r} with values or conditions of another kind")
        for value in part.values:
            if value not in vocabulary.values:
                raise UsageError(f"{shown!r}: {value} is no value of this vocabulary; leave those words as words")
        for one in part.conditions:
            if one.column not in vocabulary.columns and one.column not in vocabulary.attributes:
                raise UsageError(f"{shown!r}: no column {one.column!r} to compare; leave those words as words")
    wanted, joined = _wanted(parts, vocabulary)
    unwanted = tuple(dict.fromkeys(value for part in parts if part.kind == "unwanted" for value in part.values))
    conditions = tuple(dict.fromkeys(one for part in parts for one in part.conditions))
    notes = (*reading.notes, *joined, *_shared(text, parts), *_contradictions(wanted, unwanted, conditions))
    return Understood(text, parts, tuple(dict.fromkeys(notes)), wanted, unwanted, conditions)


def _covering(text: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts, and words of the text that none of them holds; neighbouring words are one part."""
    found: list[Part] = []
    pending, at = list(parts), 0
    for part in pending:
        if not at <= part.start < part.end <= len(text):
            raise UsageError(
                f"a part from {part.start} to {part.end} of {len(text)} characters: parts follow one another inside it"
            )
        at = part.end
    for token in tokens(text):
        while pending and pending[0].end <= token.start:
            found.append(pending.pop(0))
        if pending and pending[0].start < token.end:
            if pending[0].start > token.start or (pending[0].end < token.end):
                raise UsageError(f"a part from {pending[0].start} to {pending[0].end} cuts the word {token.text!r}")
            continue
        if token.kind == "sign":
            continue
        if (
            found
            and found[-1].kind == "words"
            and not any(
                other.start < token.start and other.end > found[-1].end for other in parts if other.kind != "words"
            )
        ):
            found[-1] = found[-1]._replace(end=token.end)
        else:
            found.append(Part(token.start, token.end, "words"))
    return (*found, *pending)


def _wanted(parts: Sequence[Part], vocabulary: Vocabulary) -> tuple[tuple[tuple[Value, ...], ...], list[str]]:
    """What is wanted, and what was put together since an item has one value of an attribute alone."""
    found: list[tuple[Value, ...]] = []
    notes = []
    for part in parts:
        if part.kind != "wanted":
            continue
        names = {value.attribute for value in part.values}
        same = next((n for n, one in enumerate(found) if {v.attribute for v in one} == names and len(names) == 1), None)
        if same is None or names & vocabulary.several:
            found.append(part.values)
        elif not set(part.values) <= set(found[same]):
            found[same] = tuple(dict.fromkeys((*found[same], *part.values)))
            notes.append(f"an item has one {next(iter(names))}, so either will do: {_either(found[same], ' or ')}")
    return tuple(dict.fromkeys(found)), notes


def _shared(text: str, parts: Sequence[Part]) -> list[str]:
    notes = []
    for part in parts:
        owners = {value.attribute for value in part.values}
        spellings = {value.value.casefold() for value in part.values}
        if len(owners) > 1 and len(spellings) < len(part.values):
            shown = text[part.start : part.end]
            notes.append(f"{shown!r} can be {_either(part.values, ' or ')}; name the attribute for one of them")
    return notes


def _contradictions(
    wanted: Sequence[tuple[Value, ...]], unwanted: Sequence[Value], conditions: Sequence[Condition]
) -> list[str]:
    notes = [
        f"{_either(one, ' or ')} is wanted and not wanted; take one of them out"
        for one in wanted
        if set(one) <= set(unwanted)
    ]
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for one in conditions:
        number = _number(one)
        if number is not None and one.operator in (">", ">=", "="):
            lows[one.column] = max(number, lows.get(one.column, number))
        if number is not None and one.operator in ("<", "<=", "="):
            highs[one.column] = min(number, highs.get(one.column, number))
    return notes + [
        f"no {name} is both at least {lows[name]:g} and at most {highs[name]:g}; take one of them out"
        for name in lows
        if name in highs and lows[name] > highs[name]
    ]


def _number(condition: Condition) -> float | None:
    try:
        return float(condition.values[0])
    except (ValueError, IndexError):
        return None


def _named(parts: Sequence[Part], value: Value, kind: Kind) -> bool:
    return any(value in part.values for part in parts if part.kind == kind)


def _either(values: Sequence[Value], word: str) -> str:
    """Values in one line; an attribute's name once."""
    names = list(dict.fromkeys(value.attribute for value in values))
    return word.join(
        f"{name}: {word.join(value.value for value in values if value.attribute == name)}" for name in names
    )
