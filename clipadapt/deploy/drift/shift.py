"""How far an adaptation moves pictures: the cosine between base and adapted vectors of the same items, new and old.

    found = shift(Vectors.open("vectors/new"), Vectors.open("vectors/new_base"))
    found.mean, found.low, found.high       # with an interval by product

An adaptation was measured on items that it moves by about as much as the reference's. Where new items are moved by
another amount, it does to them what nobody has looked at, even where they look alike to the adapted model itself.
Nothing here compares samples; that is `measure`.
"""

from typing import NamedTuple

import numpy as np

from clipadapt.errors import SpaceError, UsageError
from clipadapt.metrics.intervals import balanced_interval
from clipadapt.search.vectors import Vectors


class Shift(NamedTuple):
    """Of one set of items; cosines, 1 where nothing moved."""

    items: int
    products: int
    mean: float
    low: float
    high: float

    def sentence(self, whose: str) -> str:
        """The result in words."""
        found = f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return (
            f"cosine between base and adapted, {whose}: {found} over {self.items:,} items of {self.products:,} products"
        )


def shift(adapted: Vectors, base: Vectors) -> Shift:
    """Compares two models' vectors of the same items.

    Raises:
        SpaceError: both are of one model, or their vectors have other lengths.
        UsageError: items that only one of them has, or fewer than two products.
    """
    if adapted.image_space == base.image_space:
        raise SpaceError(f"both folders hold vectors of image_space {base.image_space}; embed one with the base")
    if adapted.vectors.shape[1] != base.vectors.shape[1]:
        raise SpaceError(
            f"vectors of {adapted.vectors.shape[1]} and {base.vectors.shape[1]} dimensions; the base is another model"
        )
    ids, place = _ids(adapted), {item: row for row, item in enumerate(_ids(base))}
    if alone := set(ids) ^ set(place):
        raise UsageError(
            f"{len(alone)} item(s) are in one of the two folders alone, such as {min(alone)!r}; embed the same items"
        )
    products = np.array(adapted.items.table.column("product").to_pylist(), np.str_)
    if len(set(products.tolist())) < 2:
        raise UsageError(f"{len(ids)} item(s) of fewer than two products say nothing of others")
    cosines = np.einsum("nd,nd->n", adapted.vectors, base.vectors[[place[item] for item in ids]]).clip(-1, 1)
    found = balanced_interval((1 + cosines.astype(np.float64)) / 2, np.zeros(len(ids), np.int64), products)
    return Shift(len(ids), len(set(products.tolist())), *(2 * bound - 1 for bound in found))


def _ids(vectors: Vectors) -> list[str]:
    return [str(item) for item in vectors.items.table.column("id").to_pylist()]
