"""Vectors with their items -> a reference and the windows of each segment, every product in one of them.

A segment is a value of one column, a window the day, week or month of another. A product belongs to its first window:
its later pictures are left out, for a product in two samples would be evidence of itself. For the same reason products
of the reference that come in again are left out of the reference. Both are counted. Products beyond MOST of a sample
are drawn by name and seed.
"""

import datetime
from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from clipadapt import keyed
from clipadapt.data.columns import near
from clipadapt.errors import CatalogueError, SpaceError
from clipadapt.search.vectors import Vectors

Window = Literal["day", "week", "month"]
MOST = 1_500
"""Products of one sample; twice as many need four times the memory."""
WHOLE = "all"
"""The segment or window where no column names any."""


class Cell(NamedTuple):
    """Rows of one sample."""

    segment: str
    window: str
    rows: Int[np.ndarray, " items"]


class Cells(NamedTuple):
    """What is compared."""

    reference: dict[str, Int[np.ndarray, " items"]]
    """Segment -> rows of the reference."""
    live: list[Cell]
    """By segment, then by time."""
    notes: list[str]
    """What was left out, a line each."""


def cells(
    reference: Vectors, live: Vectors, *, segment: str | None, time: str | None, window: Window, seed: int = 0
) -> Cells:
    """Splits both into samples.

    Raises:
        SpaceError: the two were made by different models.
        CatalogueError: a column that is not there, or a time that is no date.
    """
    if reference.image_space != live.image_space:
        raise SpaceError(
            f"the reference's vectors are of image_space {reference.image_space}, the new ones of {live.image_space}: "
            "distances between them mean nothing; embed both with one model"
        )
    notes: list[str] = []
    segments = {name: _column(one, name, segment) for name, one in (("reference", reference), ("new", live))}
    products = [np.array(one.items.table.column("product").to_pylist(), np.str_) for one in (reference, live)]
    windows = _windows(live, time, window)
    first = _first_windows(products[1], windows)
    if late := int((first != windows).sum()):
        notes.append(f"{late} new item(s) left out: their product came in an earlier {window}")
    again = np.isin(products[0], products[1])
    if again.any():
        notes.append(f"{int(again.sum())} item(s) of the reference left out: their products came in again")
    shared = _in_two_segments(segments["new"], products[1]) | (first != windows)
    if mixed := int(_in_two_segments(segments["new"], products[1]).sum()):
        notes.append(f"{mixed} new item(s) left out: their product is in another segment, too")
    known = dict.fromkeys(sorted(set(segments["reference"].tolist())))
    found: dict[str, Int[np.ndarray, " items"]] = {}
    samples: list[Cell] = []
    for name in known:
        own = (segments["reference"] == name) & ~again & ~_in_two_segments(segments["reference"], products[0])
        found[name] = _limited(np.flatnonzero(own), products[0], seed, f"reference of {name}", notes)
        for when in sorted(set(windows.tolist())):
            rows = np.flatnonzero((segments["new"] == name) & (windows == when) & ~shared)
            if len(rows):
                samples.append(Cell(name, when, _limited(rows, products[1], seed, f"{name}, {when}", notes)))
    strange = Counter(name for name in segments["new"].tolist() if name not in known)
    notes += [f"segment {name!r}: {count} new item(s), and none in the reference" for name, count in strange.items()]
    return Cells(found, samples, notes)


def window_of(day: datetime.date, window: Window) -> str:
    """2026-03-31, 2026-W14 or 2026-03."""
    year, week, _ = day.isocalendar()
    return {"day": f"{day}", "week": f"{year}-W{week:02}", "month": f"{day:%Y-%m}"}[window]


def _column(vectors: Vectors, which: str, column: str | None) -> Shaped[np.ndarray, " items"]:
    table = vectors.items.table
    if column is None:
        return np.full(len(table), WHOLE)
    if column not in table.column_names:
        raise CatalogueError(
            f"the {which} items have no column {column!r}{near(column, table.column_names)}; "
            f"columns are {', '.join(table.column_names)}"
        )
    return np.array(["unknown" if cell is None else str(cell) for cell in table.column(column).to_pylist()], np.str_)


def _windows(live: Vectors, column: str | None, window: Window) -> Shaped[np.ndarray, " items"]:
    cells = _column(live, "new", column)
    if column is None:
        return cells
    names = []
    for item, cell in zip(live.items.table.column("id").to_pylist(), cells.tolist(), strict=True):
        try:
            day = datetime.date.fromisoformat(cell[:10])
        except ValueError:
            raise CatalogueError(
                f"item {item!r}: {column} is {cell!r}, which is no date such as 2026-03-31; correct it, or leave the "
                "item out"
            ) from None
        names.append(window_of(day, window))
    return np.array(names, np.str_)


def _first_windows(products: np.ndarray, windows: np.ndarray) -> Shaped[np.ndarray, " items"]:
    """For each item the first window of its product."""
    first: dict[str, str] = {}
    for product, window in zip(products.tolist(), windows.tolist(), strict=True):
        first[product] = min(window, first.get(product, window))
    return np.array([first[product] for product in products.tolist()], np.str_)


def _in_two_segments(segments: np.ndarray, products: np.ndarray) -> Bool[np.ndarray, " items"]:
    """Items in another segment than the first of their product."""
    first: dict[str, str] = {}
    return np.array(
        [
            first.setdefault(product, own) != own
            for product, own in zip(products.tolist(), segments.tolist(), strict=True)
        ],
        bool,
    )


def _limited(rows: np.ndarray, products: np.ndarray, seed: int, what: str, notes: list[str]) -> np.ndarray:
    """Rows of at most MOST products."""
    names = sorted(set(products[rows].tolist()), key=lambda name: (keyed.integer(seed, "drift", name), name))
    if len(names) <= MOST:
        return rows
    notes.append(f"{what}: {MOST:,} of {len(names):,} products, drawn at random")
    return rows[np.isin(products[rows], names[:MOST])]
