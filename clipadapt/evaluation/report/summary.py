"""What a report says first: what improved, what got worse, and what cannot be told, with its certainty.

The rule is one for every reader (terminal, Markdown, page): better and worse need an interval of the difference clear
of zero and a corrected p below 0.05; everything else cannot be told, and says how large a difference would have had to
be. Nothing here knows of layout.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipadapt.statistics.rows import HEADLINE, Row, Verdict, interval_text, metric_label, p_text, points, select

_WHOLE = {
    "text_to_image_name": "search by product name",
    "text_to_image_pair": "search by pairs of values",
    "text_to_image_held_out_pair": "search by pairs held out of training",
    "image_to_image_product": "the same product by picture",
    "image_to_text": "names told from pictures",
}
"""Tasks that are not of one attribute."""


class Finding(NamedTuple):
    """One comparison in words."""

    subject: str
    verdict: Verdict
    row: Row
    sentence: str


class Held(NamedTuple):
    """Whether a retention set was kept within its margin."""

    name: str
    row: Row
    margin: float
    verdict: str
    """held, lost or cannot be told."""


class Counterparts:
    """Finds, for a row that compares, the other system's own row about the same thing."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {(row.system, _about(row)): row for row in rows}

    def __call__(self, row: Row) -> Row | None:
        return None if row.against is None else self._rows.get((row.against, _about(row)))


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Headlines first, then each attribute's recognition and retrieval over all its values, in the order measured."""
    return [_finding(row) for row in quoted([row for row in rows if row.paired])]


def quoted(rows: Sequence[Row]) -> list[Row]:
    """The rows that a summary names: headlines, and one figure per attribute and task."""
    return [*select(rows, task=HEADLINE), *(row for row in select(rows, value=None, bin="all") if _quoted(row))]


def retention(rows: Sequence[Row], margins: Mapping[str, float]) -> list[Held]:
    """Every retention set with its margin: held when the lower bound is above it, lost when the upper is below."""
    found = []
    for row in select(rows, value=None, metric="balanced_accuracy"):
        name = row.task.removeprefix("retention:")
        if name not in margins or name == row.task or not row.paired:
            continue
        margin = margins[name]
        low, high = row.delta_low, row.delta_high
        if low is None or high is None:
            verdict = "cannot be told"
        else:
            verdict = "held" if low > -margin else ("lost" if high < -margin else "cannot be told")
        found.append(Held(name, row, margin, verdict))
    return found


def title(config: Mapping[str, object], rows: Sequence[Row]) -> str:
    """base against adapted, on what."""
    catalogue = config.get("catalogue")
    place = f"{catalogue['source']}, {catalogue['split']}" if isinstance(catalogue, Mapping) else ""
    pairs = dict.fromkeys((row.system, row.against) for row in rows if row.paired)
    who = " and ".join(f"{system} against {against}" for system, against in pairs)
    alone = " and ".join(dict.fromkeys(row.system for row in rows))
    return f"{who or alone}: {place}" if place else who or alone


def subject(row: Row) -> str:
    """What a row is about, short: "Pattern", "balanced accuracy of rare values", "clothing10 (retention)"."""
    segment = f" ({row.segment})" if row.segment else ""
    if row.task == HEADLINE:
        label = metric_label(row.metric, row.k)
        return (label if label.startswith("mAP") else label[0].upper() + label[1:]) + segment
    task = row.task.partition("@")[0]
    label = metric_label(row.metric, row.k)
    if row.attribute is None:
        whole = _WHOLE.get(task, task.replace("_", " "))
        return f"{whole[0].upper()}{whole[1:]}: {label}{segment}"
    words = {"recognition": "", "text_to_image": "search by text, "}.get(task, task.replace("_", " ") + ", ")
    return f"{row.attribute}: {words}{label}{segment}"


def _quoted(row: Row) -> bool:
    """One figure per attribute and task is enough for a summary."""
    if row.segment or row.task == HEADLINE:
        return False
    if row.task == "recognition" or row.task.startswith("retention:"):
        return row.metric == "balanced_accuracy"
    return row.metric == ("reciprocal_rank" if row.task == "image_to_text" else "average_precision")


def _finding(row: Row) -> Finding:
    verdict = row.verdict()
    before = points(row.mean - (row.delta or 0.0))
    sentence = (
        f"{before} → {points(row.mean)}, {points(row.delta, signed=True)} points "
        f"{interval_text(row.delta_low, row.delta_high, signed=True)}, p {p_text(row.p)}"
    )
    if verdict == "cannot be told" and row.minimum_detectable is not None:
        sentence += f"; less than {points(row.minimum_detectable)} points could not have been seen"
    return Finding(subject(row), verdict, row, sentence)


def _about(row: Row) -> tuple[object, ...]:
    return (row.task, row.attribute, row.value, row.bin, row.metric, row.k, row.split)
