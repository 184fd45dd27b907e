"""A column of an item table as arrays, in the form that filters and facets compare.

Knows nothing of tables, rows that were removed, or how filters are written.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int, Shaped

from clipadapt.search.columns import Column, Order

pc: Any = pyarrow.compute  # its functions are made on import


class Numbers(NamedTuple):
    """A column of numbers, or of dates as days since 1970."""

    values: Shaped[np.ndarray, " rows"]
    known: Bool[np.ndarray, " rows"]
    dates: bool


class Texts(NamedTuple):
    """A column of texts as codes into its distinct values; several per row where it is a list."""

    codes: Int[np.ndarray, " cells"]
    """-1 where unknown."""
    rows: Int[np.ndarray, " cells"] | None
    """Row of each cell; None: one cell per row."""
    values: list[str]
    order: Order | None = None
    """What values are compared by with < and >, as far as they are such; None: texts have no order."""


def view_of(of: Column) -> Numbers | Texts:
    """The arrays of a column's cells."""
    column = of.cells
    if pa.types.is_list(column.type):
        whole = column.combine_chunks()
        flat = pc.list_flatten(whole).dictionary_encode()
        codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(
            codes, pc.list_parent_indices(whole).to_numpy().astype(np.int64), flat.dictionary.to_pylist(), of.order
        )
    if pa.types.is_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        indices = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(indices, None, coded.dictionary.to_pylist(), of.order)
    known = ~column.is_null().to_numpy()
    dates = pa.types.is_date(column.type)
    plain = column.cast(pa.int32()) if dates else column
    return Numbers(pc.fill_null(plain, 0).to_numpy(), known, dates)
