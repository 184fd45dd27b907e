"""What a catalogue holds, before anyone looks at a label: picture sizes, class balance, values written in two ways.

Headers of pictures are read, no picture is decoded; `data check` does that.
"""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipadapt import config
from clipadapt.data import decode
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.cells import text_table
from clipadapt.data.check_spellings import as_written, check_spellings
from clipadapt.data.faults import Fault
from clipadapt.data.sources import Source
from clipadapt.data.spelling import alike
from clipadapt.errors import CatalogueError
from clipadapt.progress import track
from clipadapt.threads import ordered

BOUNDS = (64, 128, 224, 336, 512, 768, 1024, 2048)
"""Pixels of the shorter side at which the histogram's bars begin; models want 224 to 512."""
_LIKE = 0.85
"""Ratio of common letters from which two values may be one with a slip in it."""
_SHORTEST = 5
"""Letters of values that are compared; shorter ones (Red, Reds) are too often both right."""
_RARE = 0.1
"""A slip is rarer than this share of the right spelling."""


class Overview(NamedTuple):
    """Of all splits together, but for the balance."""

    sizes: dict[str, int]
    """Range of the shorter side in pixels -> pictures."""
    broken: int
    """Pictures without a readable header."""
    balance: dict[str, dict[str, int]]
    """Attribute -> value -> items of the audited split, the most frequent first; "" those whose value is unknown."""
    spellings: tuple[Fault, ...]
    """Values that differ by case, spaces, hyphens or accents' form."""
    slips: tuple[str, ...]
    """Rare values that are a letter or two away from a frequent one, in words."""


def overview(catalogues: Mapping[str, Catalogue], audited: Catalogue, data: config.Data, source: Source) -> Overview:
    """Looks at every split; `audited` is the one whose labels are looked at."""
    sides = [side for catalogue in catalogues.values() for side in _sides(catalogue)]
    balance = {one.name: _balance(audited, one.name) for one in audited.attributes}
    faults: list[Fault] = []
    separators = {one.name: one.separator for one in audited.attributes}
    written = {
        split: as_written(text_table(source.read(split, data.image).table, separators).table, catalogue, data.unknown)
        for split, catalogue in catalogues.items()
        if split in source.splits()
    }
    check_spellings(catalogues, written, data, faults)
    slips = [line for name in balance for line in _slips(name, audited.counts(name))]
    return Overview(histogram(sides), sum(side is None for side in sides), balance, tuple(faults), tuple(slips))


def histogram(sides: Sequence[int | None]) -> dict[str, int]:
    """Pictures by their shorter side, from the smallest to the largest range that occurs."""
    counts = Counter(sum(side >= bound for bound in BOUNDS) for side in sides if side is not None)
    names = [f"under {BOUNDS[0]}", *(f"{a} to {b - 1}" for a, b in itertools.pairwise(BOUNDS)),
             f"{BOUNDS[-1]} or more"]  # fmt: skip
    return {names[at]: counts[at] for at in range(min(counts, default=1), max(counts, default=0) + 1)}


def _sides(catalogue: Catalogue) -> list[int | None]:
    """Shorter side of each picture; None for one whose header cannot be read."""

    def side(row: int) -> int | None:
        try:
            seen = decode.header(catalogue.picture_bytes(row))
        except CatalogueError:
            return None
        return min(seen.width, seen.height)

    found = ordered(side, range(len(catalogue)))
    return list(track(found, total=len(catalogue), label=f"picture sizes of {catalogue.split}", unit="pictures"))


def _balance(catalogue: Catalogue, attribute: str) -> dict[str, int]:
    counts = catalogue.counts(attribute)
    unknown = sum(not values for values in catalogue.value_sets(attribute))
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))) | ({"": unknown} if unknown else {})


def _slips(attribute: str, counts: Mapping[str, int]) -> list[str]:
    """Values with the same numbers in them whose letters nearly agree, one of them rare."""
    ordered_values = sorted(counts, key=lambda value: (-counts[value], value))
    lines = []
    for at, rare in enumerate(ordered_values):
        for common in ordered_values[:at]:
            if counts[rare] <= _RARE * counts[common] and _near(rare, common):
                lines.append(
                    f"{attribute}: {rare!r} ({counts[rare]}) may be {common!r} ({counts[common]}) with a slip in it"
                )
                break
    return lines


def _near(one: str, other: str) -> bool:
    a, b = alike(one), alike(other)
    if a == b or min(len(a), len(b)) < _SHORTEST or re.findall(r"\d+", a) != re.findall(r"\d+", b):
        return False
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return matcher.quick_ratio() >= _LIKE and matcher.ratio() >= _LIKE
