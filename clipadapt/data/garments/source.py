"""Drawn garments as a source, `drawn:garments`: categories and colours are known, all in memory.

What an adaptation forgets can be measured on them without a network. They are other products than those of
the offline catalogue, drawn once in a process. Nothing here knows of models or splits of a catalogue.
"""

import functools
import io

import numpy as np
import pyarrow as pa

from clipadapt.data.folders import Rows
from clipadapt.data.garments.picture import photo
from clipadapt.data.garments.products import deal
from clipadapt.data.garments.write import COLUMNS, table_row
from clipadapt.data.pictures import content_digest
from clipadapt.errors import CatalogueError

NAME = "drawn:garments"
SPLIT = "validation"
ITEMS, SIZE = 1_000, 64
"""Two seconds of drawing, and differences of balanced accuracy that are known to about four points."""
_SEED = 2_000_000
"""Not that of `clipadapt garments`, nor of what its base model is pretrained on."""


class DrawnGarments:
    """The source, of one split."""

    name = NAME

    def splits(self) -> list[str]:
        """The one name."""
        return [SPLIT]

    def first_cells(self, split: str) -> dict[str, list[str]]:
        """None: the pictures are in no column."""
        return {}

    def read(self, split: str, image: str) -> Rows:
        """All rows, the same on every call.

        Raises:
            CatalogueError: another split.
        """
        if split != SPLIT:
            raise CatalogueError(f"{NAME}: no split {split!r}; it has {SPLIT}")
        return _drawn()


class MemoryPictures:
    """Encoded pictures that lie in no file."""

    def __init__(self, encoded: list[bytes], names: list[str]) -> None:
        self._encoded, self._names = encoded, names

    def __len__(self) -> int:
        return len(self._encoded)

    def read(self, position: int) -> bytes:
        return self._encoded[position]

    def name(self, position: int) -> str:
        return self._names[position]

    def sizes(self) -> np.ndarray:
        return np.array([len(picture) for picture in self._encoded], np.int64)

    def stamps(self) -> list[str]:
        return [content_digest(picture) for picture in self._encoded]

    def take(self, positions: np.ndarray) -> "MemoryPictures":
        chosen = [int(position) for position in positions]
        return MemoryPictures([self._encoded[place] for place in chosen], [self._names[place] for place in chosen])


@functools.cache
def _drawn() -> Rows:
    rows: list[dict[str, str]] = []
    encoded: list[bytes] = []
    for product in deal(ITEMS, _SEED):
        for number in range(product.pictures):
            file = io.BytesIO()
            photo(product, number, SIZE, _SEED).save(file, "JPEG", quality=95, subsampling=0)
            encoded.append(file.getvalue())
            rows.append(table_row(product, number))
    names = [row["file_name"] for row in rows]
    table = pa.table({column: [row[column] for row in rows] for column in COLUMNS})
    return Rows(table, MemoryPictures(encoded, names), NAME, None, [row["id"] for row in rows])
