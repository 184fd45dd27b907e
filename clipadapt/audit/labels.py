"""Every known label of a split, one per item, attribute and value: what is sampled, marked and suspected.

    labels = Labels.of(catalogue)
    labels.value[labels.stratum[0]]      # of the first label; a multi-valued cell has a label for each of its values

Plain arrays: nothing here opens a picture.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Int, Shaped

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError


class Stratum(NamedTuple):
    """One value of one attribute."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"{self.attribute}: {self.value}"


@dataclass(frozen=True)
class Labels:
    """Labels in the order of attributes, then of items."""

    strata: tuple[Stratum, ...]
    """Values in the order of attributes, the most frequent first."""
    stratum: Int[np.ndarray, " labels"]
    row: Int[np.ndarray, " labels"]
    """Of the catalogue."""
    ids: Shaped[np.ndarray, " items"]
    products: Shaped[np.ndarray, " items"]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Self:
        """All known labels of the declared attributes.

        Raises:
            CatalogueError: there is none.
        """
        cells = {one.name: [tuple(values) for values in catalogue.value_sets(one.name)] for one in catalogue.attributes}
        if not any(values for cell in cells.values() for values in cell):
            raise CatalogueError(
                f"{catalogue.source}: split {catalogue.split!r} has no known label; name attributes with --attribute"
            )
        return cls.of_cells(cells, np.array(catalogue.ids), catalogue.products)

    @classmethod
    def of_cells(
        cls,
        cells: dict[str, list[tuple[str, ...]]],
        ids: Shaped[np.ndarray, " items"],
        products: Shaped[np.ndarray, " items"],
    ) -> Self:
        """As `of`, from the values of each item's cells."""
        strata: dict[Stratum, int] = {}
        numbers: list[int] = []
        rows: list[int] = []
        for attribute, column in cells.items():
            counts: dict[str, int] = {}
            for values in column:
                for value in values:
                    counts[value] = counts.get(value, 0) + 1
            for value in sorted(counts, key=lambda value: (-counts[value], value)):
                strata[Stratum(attribute, value)] = len(strata)
            for row, values in enumerate(column):
                for value in sorted(values):
                    numbers.append(strata[Stratum(attribute, value)])
                    rows.append(row)
        return cls(tuple(strata), np.array(numbers, np.int64), np.array(rows, np.int64), ids, products)

    def __len__(self) -> int:
        return len(self.stratum)

    def sizes(self) -> Int[np.ndarray, " strata"]:
        """Labels of each value."""
        return np.bincount(self.stratum, minlength=len(self.strata))
