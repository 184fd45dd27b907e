"""What a report says first: one sentence, then what got worse, what improved, and what is unclear, with its certainty.

The rule is one for every reader (terminal, Markdown, page): better and worse need an interval of the difference clear
of zero and a corrected p below 0.05; everything else is unclear, and says how large a difference would have had to be.
Single values and calibration are named where they moved for sure. Nothing here knows of layout.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipadapt.statistics.rows import (
    HEADLINE,
    FileWording,
    Row,
    Verdict,
    about,
    in_quoted_wording,
    interval_text,
    metric_label,
    p_text,
    points,
    select,
)

_WHOLE = {
    "text_to_image_name": "search by product name",
    "text_to_image_pair": "search by pairs of values",
    "text_to_image_held_out_pair": "search by pairs held out of training",
    "image_to_image_product": "the same product by picture",
    "image_to_text": "names recognised from pictures",
}
"""Tasks that are not of one attribute."""
_BY_ATTRIBUTE = {"recognition": "", "text_to_image": "search by text, ", "image_to_image": "search by picture, "}
_LEADING = ("balanced_accuracy", "average_precision")
"""Headlines that the sentence is about, the first that was measured."""


class Finding(NamedTuple):
    """One comparison in words."""

    subject: str
    verdict: Verdict
    row: Row
    sentence: str


class RetentionVerdict(NamedTuple):
    """Whether a retention set was kept within its margin."""

    name: str
    row: Row
    margin: float
    verdict: str
    """held, lost or unclear."""


class Counterparts:
    """Finds, for a row that compares, the other system's own row about the same thing."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {(row.system, row.wording, about(row)): row for row in rows}

    def __call__(self, row: Row) -> Row | None:
        return None if row.against is None else self._rows.get((row.against, row.wording, about(row)))


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Headlines first, then each attribute's recognition and retrieval over all its values, in the order measured;
    then single values and calibration errors that moved for sure, what moved most first; what got worse last, by size.
    """
    paired = [row for row in in_quoted_wording(rows) if row.paired]
    moved = [row for row in paired if _single(row) and row.verdict() != "unclear"]
    moved.sort(key=lambda row: -abs(row.gain))
    found = [_finding(row) for row in [*quoted(paired), *moved]]
    # What got worse is read for its size; the rest keeps the order of the suite.
    worse = sorted((one for one in found if one.verdict == "worse"), key=lambda one: one.row.gain)
    return [*(one for one in found if one.verdict != "worse"), *worse]


def quoted(rows: Sequence[Row]) -> list[Row]:
    """The rows that a summary names: headlines, and one figure per attribute and task, in the quoted wording."""
    rows = in_quoted_wording(rows)
    return [*select(rows, task=HEADLINE), *(row for row in select(rows, value=None, bin="all") if _quoted(row))]


def plain_sentence(config: Mapping[str, object], rows: Sequence[Row], margins: Mapping[str, float]) -> str:
    """What came out, for somebody who reads nothing else; empty where no headline was measured."""
    every = in_quoted_wording(select(rows, task=HEADLINE))
    headlines = [row for row in every if row.paired] or every
    lead = next((row for metric in _LEADING for row in headlines if row.metric == metric), None)
    if lead is None:
        return ""
    catalogue = config.get("catalogue")
    items = catalogue["items"] if isinstance(catalogue, Mapping) else lead.n
    what = _lowered(subject(lead))
    if not lead.paired:
        return f"On {items:,} pictures, {lead.system} reaches {_percent(lead)} {what}."
    is_ = {"better": "is better than", "worse": "is worse than", "unclear": "is not clearly better or worse than"}
    sentences = [
        f"On {items:,} pictures, {lead.system} {is_[lead.verdict()]} {lead.against}: {what} went from "
        f"{_from_to(lead)} ({_sure(lead)})."
    ]
    if (file := FileWording(rows)(lead)) is not None:
        own = f"in the prompts file's own wording it is {_percent(file)}"
        sentences.append(f"That is in words that training never used; {own}.")
    rare = next((row for row in headlines if row.metric == "rare_balanced_accuracy" and row.paired), None)
    if rare is not None and lead.metric == "balanced_accuracy":
        doubt = "" if rare.verdict() != "unclear" else ", which may be chance"
        sentences.append(f"For rare values it went from {_from_to(rare)}{doubt}.")
    worse = [one for one in findings(rows) if one.verdict == "worse"]
    if worse:
        most = min(worse, key=lambda one: one.row.gain)
        figures = "1 figure" if len(worse) == 1 else f"{len(worse)} figures"
        sentences.append(f"{figures} got worse, most of all {_lowered(most.subject)}: {_from_to(most.row)}.")
    else:
        sentences.append("Nothing that was measured got clearly worse.")
    if lost := [one.name for one in retention(rows, margins) if one.verdict == "lost"]:
        sentences.append(f"More than the margin was lost on {' and '.join(lost)}.")
    return " ".join(sentences)


def retention(rows: Sequence[Row], margins: Mapping[str, float]) -> list[RetentionVerdict]:
    """Every retention set with its margin: held when the lower bound is above it, lost when the upper is below."""
    found = []
    for row in select(rows, value=None, metric="balanced_accuracy"):
        name = row.task.removeprefix("retention:")
        if name not in margins or name == row.task or not row.paired:
            continue
        margin = margins[name]
        low, high = row.delta_low, row.delta_high
        if low is None or high is None:
            verdict = "unclear"
        else:
            verdict = "held" if low > -margin else ("lost" if high < -margin else "unclear")
        found.append(RetentionVerdict(name, row, margin, verdict))
    return found


def systems_of(rows: Sequence[Row]) -> list[str]:
    """The one compared with first, as every table and chart has them."""
    against = [row.against for row in rows if row.against is not None]
    return list(dict.fromkeys([*against, *(row.system for row in rows)]))


def title(config: Mapping[str, object], rows: Sequence[Row]) -> str:
    """base against adapted, on what."""
    catalogue = config.get("catalogue")
    place = f"{catalogue['source']}, {catalogue['split']}" if isinstance(catalogue, Mapping) else ""
    pairs = dict.fromkeys((row.system, row.against) for row in rows if row.paired)
    who = " and ".join(f"{system} against {against}" for system, against in pairs)
    alone = " and ".join(dict.fromkeys(row.system for row in rows))
    return f"{who or alone}: {place}" if place else who or alone


def subject(row: Row) -> str:
    """What a row is about, short: "Pattern", "balanced accuracy of rare values", "Fabric Cotton: recall"."""
    segment = f" ({row.segment})" if row.segment else ""
    label = metric_label(row.metric, row.k)
    if row.task == HEADLINE:
        return (label if label.startswith("mAP") else label[0].upper() + label[1:]) + segment
    task = row.task.partition("@")[0]
    if row.attribute is None:
        whole = _WHOLE.get(task, task.replace("_", " "))
        return f"{whole[0].upper()}{whole[1:]}: {label}{segment}"
    words = _BY_ATTRIBUTE.get(task, task.replace("_", " ") + ", ")
    of = row.attribute if row.value is None else f"{row.attribute} {row.value}"
    return f"{of}: {words}{label}{segment}"


def _quoted(row: Row) -> bool:
    """One figure per attribute and task is enough for a summary."""
    if row.segment or row.task == HEADLINE or row.metric == "calibration_error":
        return False
    if row.task == "recognition" or row.task.startswith("retention:"):
        return row.metric == "balanced_accuracy"
    return row.metric == ("reciprocal_rank" if row.task == "image_to_text" else "average_precision")


def _single(row: Row) -> bool:
    """Whether a row is about one value, or about calibration, and so named only where it moved."""
    if row.segment or row.task.startswith("retention:"):
        return False
    return row.value is not None or row.metric == "calibration_error"


def _finding(row: Row) -> Finding:
    verdict = row.verdict()
    sentence = (
        f"{points(row.mean - (row.delta or 0.0))} → {points(row.mean)}, {points(row.delta, signed=True)} points "
        f"{interval_text(row.delta_low, row.delta_high, signed=True)}, p {p_text(row.p)}, {row.n:,} items"
    )
    if verdict == "unclear" and row.minimum_detectable is not None:
        sentence += f"; less than {points(row.minimum_detectable)} points could not have been seen"
    return Finding(subject(row), verdict, row, sentence)


def _from_to(row: Row) -> str:
    return f"{points(row.mean - (row.delta or 0.0))}% to {_percent(row)}"


def _percent(row: Row) -> str:
    return f"{points(row.mean)}%"


def _sure(row: Row) -> str:
    if row.delta_low is None or row.delta_high is None:
        return f"{points(row.delta, signed=True)} points"
    bounds = f"between {points(row.delta_low, signed=True)} and {points(row.delta_high, signed=True)}"
    return f"{points(row.delta, signed=True)} points; with other pictures, likely {bounds}"


def _lowered(text: str) -> str:
    """The start of a heading inside a sentence; names of columns and abbreviations stay."""
    first = text.split(":")[0].split()[0]
    return text[0].lower() + text[1:] if first in ("Balanced", "Search", "The", "Names") else text
