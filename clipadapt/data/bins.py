"""Bins of values by how many labelled training items they have: few, medium, many.

    counts = training_counts(splits.train, splits.tune)     # {"Pattern": {"Solid": 947, "Paisley": 12}}
    rare(counts["Pattern"])                                 # {"Paisley"}

The one definition of rare for training, evaluation, the strength search, tagging and reports. The bounds (few: 20 or
less, medium: 21 to 100) are fixed, so that figures of two runs compare. What was carved from train for tune counts as
training items: otherwise a value would become rare by the share that was set aside.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from clipadapt.data.catalogue import Catalogue

FEW = 20
"""Largest count in the few bin."""
MEDIUM = 100
"""Largest count in the medium bin."""

Bin = Literal["few", "medium", "many"]


def bin_of(count: int) -> Bin:
    """The bin of a value with `count` labelled training items; a value never seen in training is few.

    Raises:
        ValueError: a negative count.
    """
    if count < 0:
        raise ValueError(f"a value cannot have {count} items")
    if count <= FEW:
        return "few"
    return "medium" if count <= MEDIUM else "many"


def rare(counts: Mapping[str, int], among: Iterable[str] | None = None) -> set[str]:
    """The values in the few and medium bins, which every report quotes together as rare.

    Args:
        counts: value -> labelled training items.
        among: the values in question, also such as training never saw; null: those of `counts`.
    """
    return {value for value in (counts if among is None else among) if bin_of(counts.get(value, 0)) != "many"}


def training_counts(train: Catalogue, tune: Catalogue | None = None) -> dict[str, dict[str, int]]:
    """Attribute -> value -> labelled training items.

    Args:
        tune: counted too where it was carved from train, which its split's name says; a split of its own is not.
    """
    parts = [train]
    if tune is not None and (tune.source, tune.split) == (train.source, train.split):
        parts.append(tune)
    names = dict.fromkeys(attribute.name for part in parts for attribute in part.attributes)
    return {name: dict(sum((Counter(part.counts(name)) for part in parts), Counter())) for name in names}
