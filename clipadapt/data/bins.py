"""Bins of values by how many labelled training items they have: few, medium, many.

The bounds are those of the words list (few: 20 or less, medium: 21 to 100), fixed so that figures of two runs compare.
Counts come from the training split alone; nothing here knows where they came from.
"""

from collections.abc import Mapping
from typing import Literal

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


def rare(counts: Mapping[str, int]) -> set[str]:
    """The values in the few and medium bins, which every report quotes together as rare."""
    return {value for value, count in counts.items() if bin_of(count) != "many"}
