"""Facets: for every column what the items under some conditions hold, and how many hold it.

    facets(items, parse_all(["Pattern=Striped", "price<50"]))    [Values("Pattern", ...), Range("price", 4.5, 49.0)]

A column's own conditions do not narrow its own facet, so that a person sees what else there is to choose. Columns that
name single items or products, such as file names and titles, are no facets. Knows nothing of vectors.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipadapt.search.filters import Condition, matching
from clipadapt.search.items import ID, PRODUCT, Items
from clipadapt.search.views import Numbers, Texts


class Values(NamedTuple):
    """A column of texts: its values, those of most items first, then by name."""

    name: str
    values: list[tuple[str, int]]
    more: int
    """Values that were left out."""


class Range(NamedTuple):
    """A column of numbers, or of dates as ISO 8601."""

    name: str
    low: float | str
    high: float | str


def facets(items: Items, conditions: Sequence[Condition] = (), most: int = 20) -> list[Values | Range]:
    """The facets of the items that meet the conditions, in the order of the table's columns.

    Args:
        most: values of a column that are listed; those that a condition names are listed in any case.

    Raises:
        UsageError: a condition at fault.
    """
    live = ~items.removed
    whole = matching(items, conditions) & live
    narrowed = {condition.column for condition in conditions}
    found = []
    for name in items.columns:
        if name in (ID, PRODUCT):
            continue
        others = [condition for condition in conditions if condition.column != name]
        mask = matching(items, others) & live if name in narrowed else whole
        view = items.view(name)
        if isinstance(view, Numbers):
            facet = _range(name, view, mask)
        else:
            chosen = {value for condition in conditions if condition.column == name for value in condition.values}
            facet = None if items.names_products(name) else _values(name, view, mask, most, chosen)
        if facet is not None:
            found.append(facet)
    return found


def _range(name: str, view: Numbers, mask: Bool[np.ndarray, " rows"]) -> Range | None:
    known = view.values[mask & view.known]
    if not len(known):
        return None
    low, high = known.min().item(), known.max().item()
    return Range(name, _day(low), _day(high)) if view.dates else Range(name, low, high)


def _day(days: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=int(days))).isoformat()


def _values(name: str, view: Texts, mask: Bool[np.ndarray, " rows"], most: int, chosen: set[str]) -> Values | None:
    if not (view.codes >= 0).any():
        return None
    inside = (view.codes >= 0) & (mask if view.rows is None else mask[view.rows])
    counts = np.bincount(view.codes[inside], minlength=len(view.values))
    present = [code for code in range(len(counts)) if counts[code] or view.values[code] in chosen]
    present.sort(key=lambda code: (-counts[code], view.values[code]))
    listed = present[:most] + [code for code in present[most:] if view.values[code] in chosen]
    return Values(name, [(view.values[code], int(counts[code])) for code in listed], len(present) - len(listed))
