"""Vectors and the items they belong to, in memory or as `clipadapt embed` wrote them.

Knows nothing of how vectors are made: reading them imports no torch.
"""

import json
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float

from clipadapt import places
from clipadapt.errors import StoreError, UsageError
from clipadapt.search.items import Items

_NOTHING = 1e-12
"""Length under which a vector has no direction."""


class Broken(NamedTuple):
    """A picture that has no vector."""

    id: str
    file: str
    row: int
    picture: str
    reason: str


class Vectors(NamedTuple):
    """Unit vectors and their items, row by row."""

    vectors: Float[np.ndarray, "items dim"]
    items: Items
    image_space: str
    model: str | None
    broken: tuple[Broken, ...] = ()
    whole: int | None = None
    """Dimensions of the model's vectors, where these are only the first of them."""

    def shortened(self, dim: int) -> Self:
        """The first dimensions alone, of unit length again.

        Raises:
            UsageError: there are not so many.
        """
        there = self.vectors.shape[1]
        refuse_dims(dim, there)
        if dim == there:
            return self
        return self._replace(vectors=first(self.vectors, dim), whole=self.whole or there)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """What `embed` wrote; vectors stay on disk until they are read.

        Raises:
            StoreError: nothing whole there.
        """
        folder = Path(path)
        try:
            meta = json.loads((folder / "embed.json").read_text(encoding="utf-8"))
            vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
            table = pq.read_table(folder / "items.parquet")
            broken = tuple(Broken(**row) for row in meta["broken"])
            model = meta["model"] and places.from_folder(meta["model"], folder)
            made = cls(
                vectors, Items(table.combine_chunks(), np.zeros(len(table), bool)), meta["image_space"], model, broken
            )
        except FileNotFoundError as error:
            raise StoreError(
                f"{folder}: holds no vectors ({error.filename} is missing); run clipadapt embed"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder}: vectors cannot be read ({error}); embed again into another folder") from error
        if len(vectors) != len(table):
            raise StoreError(f"{folder}: {len(vectors)} vectors for {len(table)} items; embed again")
        return made


def refuse_dims(dim: int, there: int) -> None:
    """Before anything is encoded whose first dimensions are to be kept.

    Raises:
        UsageError: vectors have not so many.
    """
    if not 1 <= dim <= there:
        raise UsageError(f"{dim} dimensions of vectors that have {there}; name 1 to {there} of them")


def first(vectors: Float[np.ndarray, "*n dim"], dim: int) -> Float[np.ndarray, "*n first"]:
    """The first dimensions, of unit length again; vectors without direction there stay as they are."""
    short = np.array(vectors[..., :dim], np.float32)
    lengths = np.linalg.norm(short, axis=-1, keepdims=True)
    return short / np.where(lengths > _NOTHING, lengths, 1.0)
