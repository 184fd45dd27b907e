"""Which vectors a search may find, in the forms that an engine needs. Knows nothing of how filters are written."""

from typing import Any

import faiss as swig
import numpy as np
from jaxtyping import Bool, Int, Integer

faiss: Any = swig  # its classes get most of their methods at run time


class Selection:
    """The vectors a search may find, in the forms its parts need, each made once."""

    def __init__(self, mask: Bool[np.ndarray, " rows"]) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))
        self._rows: np.ndarray | None = None
        self._packed: np.ndarray | None = None
        self._per_cell: np.ndarray | None = None

    @property
    def rows(self) -> Int[np.ndarray, " matches"]:
        if self._rows is None:
            self._rows = np.flatnonzero(self.mask)
        return self._rows

    def bitmap(self) -> Any:
        """As FAISS takes it; this object must live longer than what it returns."""
        if self._packed is None:
            self._packed = np.packbits(self.mask, bitorder="little")
        return faiss.IDSelectorBitmap(self._packed)

    def per_cell(self, cell_of: Integer[np.ndarray, " rows"], cells: int) -> Int[np.ndarray, " cells"]:
        """Matches in each cell."""
        if self._per_cell is None:
            self._per_cell = np.bincount(cell_of[self.rows], minlength=cells)
        return self._per_cell
