"""Vectors and the items they belong to, in memory or as `clipadapt embed` wrote them: one array, or parts.

    Vectors.open("vectors/shop").vectors[:4096]         read from the disk here, and no earlier

Knows nothing of how vectors are made: reading them imports no torch.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float

from clipadapt import places
from clipadapt.errors import StoreError, UsageError
from clipadapt.manifest import check_manifest
from clipadapt.search.items import Items, first_faults
from clipadapt.search.vector_parts import Joined, Matrix, PartFile, unit

EMBED = "embed.json"
"""What is said of a folder's vectors."""
FORM = 2
"""Its schema_version."""


class Broken(NamedTuple):
    """A picture that has no vector."""

    id: str
    file: str
    row: int
    picture: str
    reason: str


class Vectors(NamedTuple):
    """Unit vectors and their items, row by row."""

    vectors: Float[Matrix, "items dim"]
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
        cut = self.vectors.first(dim) if isinstance(self.vectors, Joined) else first(self.vectors, dim)
        return self._replace(vectors=cut, whole=self.whole or there)

    def kept(self) -> Self:
        """With vectors as they lie in their parts: halves where all of those are in half precision, to build from."""
        return self._replace(vectors=self.vectors.kept()) if isinstance(self.vectors, Joined) else self

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """What `embed` wrote; vectors stay on disk until they are read, and come as float32 whatever they are there.

        An index is built from them as they are there (`kept`).

        Args:
            verify: compares every file's sha256, which reads all of them; False compares sizes alone.

        Raises:
            StoreError: nothing whole there, or a file that is missing or was changed; names it.
        """
        folder = Path(path)
        try:
            meta = json.loads((folder / EMBED).read_text(encoding="utf-8"))
            if (form := meta.get("schema_version", 1)) > FORM:
                raise StoreError(
                    f"{folder / EMBED}: has schema_version {form}, and this clipadapt reads 1 to {FORM}; update "
                    "clipadapt"
                )
            if form > 1 and (faults := check_manifest(folder, verify=verify)):
                again = "into another folder" if meta["form"] == "whole" else "as before: it makes these files anew"
                raise StoreError(
                    f"{folder}: was changed after it was written:{first_faults(faults)}\nrun clipadapt embed {again}"
                )
            vectors = _vectors(folder, meta)
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


def _vectors(folder: Path, meta: dict[str, Any]) -> Float[Matrix, "items dim"]:
    if meta.get("form", "whole") == "whole" and meta.get("dtype", "float32") == "float32":
        return np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    parts = [PartFile(folder / part["file"], part["rows"]) for part in meta["parts"]]
    return Joined(parts, meta["dim"], halves=meta.get("dtype") == "float16")


def refuse_dims(dim: int, there: int) -> None:
    """Before anything is encoded whose first dimensions are to be kept.

    Raises:
        UsageError: vectors have not so many.
    """
    if not 1 <= dim <= there:
        raise UsageError(f"{dim} dimensions of vectors that have {there}; name 1 to {there} of them")


def first(vectors: Float[np.ndarray, "*n dim"], dim: int) -> Float[np.ndarray, "*n first"]:
    """The first dimensions, of unit length again; vectors without direction there stay as they are."""
    return unit(np.array(vectors[..., :dim], np.float32))
