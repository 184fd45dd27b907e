"""Two files that `clipadapt tag` wrote -> the values and states of their items, with the products they belong to.

A cell with several values counts as one value, for the file does not say what separates them. Items of products that
are in both files are left out of the reference, and a note says how many. Nothing here compares.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipadapt.data.tables import read_table
from clipadapt.deploy.drift.rates import REFERENCE, Observed
from clipadapt.errors import CatalogueError

WINDOW = "all"
"""What the new file's items are called beside the reference's: tags have no time, so they make one window."""
_STATE = " state"
"""What follows an attribute's name in the column that says sure, unsure or not applicable."""


class Tags(NamedTuple):
    """What two files say."""

    observed: Observed
    notes: tuple[str, ...]


def read_tags(new: Path, reference: Path) -> Tags:
    """Both files.

    Raises:
        CatalogueError: one cannot be read, is no file of tags, or they are of other attributes.
    """
    files = {WINDOW: _read(new), REFERENCE: _read(reference)}
    names = {sample: {name for name in cells if f"{name}{_STATE}" in cells} for sample, cells in files.items()}
    if names[WINDOW] != names[REFERENCE]:
        apart = ", ".join(sorted(names[WINDOW] ^ names[REFERENCE]))
        raise CatalogueError(f"{new} and {reference} are not of the same attributes: {apart}; tag both alike")
    in_both = set(files[WINDOW]["product"]) & set(files[REFERENCE]["product"])
    kept = {
        sample: [row for row, product in enumerate(cells["product"]) if sample == WINDOW or product not in in_both]
        for sample, cells in files.items()
    }
    left_out = len(files[REFERENCE]["product"]) - len(kept[REFERENCE])
    notes = (f"tags: {left_out} item(s) of the reference left out: their products came in again",) if left_out else ()
    columns = [column for name in sorted(names[WINDOW]) for column in (name, f"{name}{_STATE}")]
    values = {
        column: [
            frozenset((str(cell),)) if (cell := files[sample][column][row]) not in (None, "") else None
            for sample, rows in kept.items()
            for row in rows
        ]
        for column in columns
    }
    products = [str(files[sample]["product"][row]) for sample, rows in kept.items() for row in rows]
    samples = [sample for sample, rows in kept.items() for _ in rows]
    return Tags(Observed(np.array(products, np.str_), np.array(samples, np.str_), values), notes)


def _read(file: Path) -> dict[str, list]:
    try:
        table, _ = read_table(file)
    except OSError as error:
        raise CatalogueError(f"{file}: cannot be read ({error}); name a file that clipadapt tag wrote") from error
    if "product" not in table.column_names or not any(name.endswith(_STATE) for name in table.column_names):
        raise CatalogueError(f"{file}: is no file of tags (product, ATTRIBUTE, ATTRIBUTE state); run clipadapt tag")
    return {name: table.column(name).to_pylist() for name in table.column_names}
