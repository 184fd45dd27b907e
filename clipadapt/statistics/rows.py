"""Rows: one measured figure each, in the form that results.json keeps and every reader shares.

    row.mean, row.low, row.high                    the figure and its interval, as fractions
    row.delta, row.delta_low, row.delta_high       against another system on the same items; null for a lone system
    row.verdict()                                  "better", "worse" or "unclear"

A row says what it is about by task, attribute, value, bin, metric and k; `select` finds rows by those. Nothing here
knows how a figure came about or where it is printed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from clipadapt.errors import ConfigError

SCHEMA_VERSION = 1
HEADLINE = "headline"
"""The task of the rows that are quoted."""

WORDINGS = {
    "file": "the file's wording",
    "held_out": "held-out wording",
    "texts": "held-out wording, texts alone",
    "vectors": "value vectors alone",
}
"""How reports call them."""

LOWER_IS_BETTER = frozenset({"calibration_error", "violations"})
"""Metrics of which a smaller figure is the better one."""

QUOTED = "held_out"
"""The wording that is quoted: texts as they are, mixed with value vectors where a model has them."""

Bin = Literal["all", "many", "medium", "few", "rare"]
Verdict = Literal["better", "worse", "unclear"]
Wording = Literal["file", "held_out", "texts", "vectors"]
_PAIRED = ("against", "delta", "delta_low", "delta_high", "p", "minimum_detectable")


@dataclass(frozen=True)
class Row:
    """One figure of one system; all figures are fractions in [0, 1], differences in [-1, 1]."""

    task: str
    """recognition, text_to_image, ...; a segment follows an @: "recognition@gender=Men"."""
    attribute: str | None
    value: str | None
    """null: over the values of the attribute."""
    bin: Bin
    """Of values by labelled training items; rare is few and medium together."""
    metric: str
    k: int | None
    system: str
    split: str
    n: int
    """Items (or, where each query is an item, queries) behind the figure."""
    products: int
    mean: float
    low: float | None
    """null where the items give no spread: those of a single product."""
    high: float | None
    against: str | None = None
    """The system that the differences are to; null for a row that compares nothing."""
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    """Of no difference, by permutation over products; corrected over the rows it stands among."""
    minimum_detectable: float | None = None
    """The smallest true difference this comparison would have shown four times out of five."""
    wording: Wording | None = None
    """What values were called: as in the prompts file, or in words that training never uses, which is what is quoted;
    null: no prompts file was used."""

    @property
    def segment(self) -> str | None:
        """What restricts the items, as "gender=Men"; null: nothing."""
        return self.task.partition("@")[2] or None

    @property
    def paired(self) -> bool:
        """Whether this row compares two systems."""
        return self.against is not None

    def verdict(self, level: float = 0.05) -> Verdict:
        """What the comparison shows: better or worse needs an interval clear of zero and a p below `level`.

        Raises:
            ValueError: the row compares nothing.
        """
        if not self.paired:
            raise ValueError(f"{self.label()} compares nothing")
        if self.delta_low is None or self.delta_high is None or self.p is None or self.p >= level:
            return "unclear"
        if self.delta_low <= 0 <= self.delta_high:
            return "unclear"
        return "better" if (self.delta_low > 0) != (self.metric in LOWER_IS_BETTER) else "worse"

    @property
    def gain(self) -> float:
        """The difference, above zero where it is for the better; 0 for a row that compares nothing."""
        delta = self.delta or 0.0
        return -delta if self.metric in LOWER_IS_BETTER else delta

    def label(self) -> str:
        """What the row is about, in words."""
        about = " ".join(part for part in (self.attribute, self.value) if part)
        where = "" if self.bin == "all" else f" ({self.bin} values)"
        words = f" in {WORDINGS[self.wording]}" if self.wording is not None else ""
        return f"{self.task}{': ' if about else ''}{about}, {metric_label(self.metric, self.k)}{where}{words}"

    def to_json(self) -> dict[str, Any]:
        """The row as results.json has it; keys of comparisons only where there is one, the wording where it applies."""
        row = {key: value for key, value in asdict(self).items() if self.paired or key not in _PAIRED}
        return row if self.wording is not None else {key: value for key, value in row.items() if key != "wording"}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ConfigError: a key is missing or unknown.
        """
        known = {field.name for field in fields(cls)}
        missing = known - {*_PAIRED, "wording"} - set(document)
        if missing or set(document) - known:
            raise ConfigError(
                f"a row of results.json has no {sorted(missing) or 'missing keys'} and "
                f"unknown {sorted(set(document) - known)}; it was written by another version: measure again"
            )
        return cls(**document)


_ABBREVIATED = {
    "top1": "top-1",
    "balanced_accuracy": "balanced accuracy",
    "rare_balanced_accuracy": "balanced accuracy of rare values",
    "macro_f1": "macro F1",
    "precision": "P@{k}",
    "r_precision": "R-precision",
    "average_precision": "mAP",
    "ndcg": "nDCG@{k}",
    "reciprocal_rank": "MRR",
    "recall_at": "recall@{k}",
    "calibration_error": "calibration error",
    "violations": "violations@{k}",
    "changed": "changed@{k}",
    "kept": "kept@{k}",
    "retention": "retention (balanced accuracy)",
}


def metric_label(metric: str, k: int | None = None) -> str:
    """The name the field uses: P@10, mAP, balanced accuracy."""
    return _ABBREVIATED.get(metric, metric.replace("_", " ")).format(k=k)


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows whose fields equal those named, in their order, as task="recognition", value=None."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def in_quoted_wording(rows: Iterable[Row]) -> list[Row]:
    """The rows that are quoted: those in held-out wording, and those that go by none."""
    return [row for row in rows if row.wording in (None, QUOTED)]


def about(row: Row) -> tuple[object, ...]:
    """What a row measures, whatever the system and the wording."""
    return (row.task, row.attribute, row.value, row.bin, row.metric, row.k, row.split)


class FileWording:
    """Finds, for a row in held-out wording, the same figure in the file's own wording."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(row.system, about(row)): row for row in rows if row.wording == "file"}

    def __call__(self, row: Row) -> Row | None:
        """None where there is one wording alone."""
        return self._rows.get((row.system, about(row))) if row.wording == "held_out" else None


def p_text(p: float | None) -> str:
    """A p value as one quotes it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def points(fraction: float | None, *, signed: bool = False) -> str:
    """A fraction as percentage points with one decimal; an en dash where there is none. Only readers see percent."""
    if fraction is None or not math.isfinite(fraction):
        return "–"
    text = f"{100 * fraction:+.1f}" if signed else f"{100 * fraction:.1f}"
    return text.replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0") if signed else text


def interval_text(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Two bounds in brackets, or "no interval" where the items give no spread."""
    if low is None or high is None:
        return "no interval"
    return f"[{points(low, signed=signed)}, {points(high, signed=signed)}]"
