"""A catalogue or a list of texts -> a matrix of unit vectors.

Pictures are decoded by threads while the model computes; batches keep the order of the rows and their size, so two
runs give the same bits. Works with every encoder, ONNX ones included. Nothing here stores vectors or knows what they
are compared with.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clipadapt.errors import CatalogueError, listing
from clipadapt.progress import track
from clipadapt.threads import ordered
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.text import by_length, distinct

_Made = TypeVar("_Made")
_AHEAD = 2
"""Batches that are decoded while one is computed."""
_MANY = 8
"""Batches of texts from which on progress is shown."""


@runtime_checkable
class Pictures(Protocol):
    """What of a catalogue is needed here."""

    def __len__(self) -> int: ...

    def picture(self, index: int) -> Image.Image: ...


def encode_catalogue(
    encoder: Encoder,
    catalogue: Pictures,
    *,
    batch_size: int = 64,
    indices: Sequence[int] | np.ndarray | None = None,
    progress: bool = True,
    broken: Literal["error", "count"] = "error",
) -> Float[np.ndarray, "n dim"]:
    """One unit vector per row of the catalogue, or per entry of `indices`, in that order; float32.

    With `broken="count"` the row of a picture that cannot be decoded is NaN, and one warning names all of them.

    Raises:
        CatalogueError: a picture cannot be decoded and `broken` is "error"; names item and file.
    """
    rows = np.arange(len(catalogue)) if indices is None else np.asarray(indices, dtype=np.int64)
    vectors = np.full((len(rows), encoder.dim), np.nan, dtype=np.float32)
    faults: list[str] = []

    def one(row: int) -> Tensor | CatalogueError:
        try:
            return encoder.preprocess(catalogue.picture(row))
        except CatalogueError as error:
            return error

    batches: Iterable[tuple[int, list[Tensor | CatalogueError]]] = ahead(one, rows, batch_size)
    count = -(-len(rows) // batch_size)
    if progress:
        batches = track(batches, total=count, label="encoding pictures", unit="batches")
    for start, batch in batches:
        places = []
        for offset, pixels in enumerate(batch):
            if isinstance(pixels, Tensor):
                places.append(offset)
            elif broken == "error":
                raise pixels
            else:
                faults.append(str(pixels))
        if places:
            kept = torch.stack([pixels for pixels in batch if isinstance(pixels, Tensor)])
            vectors[start + np.array(places)] = encoder.encode_images(kept).cpu().numpy()
    if faults:
        warnings.warn(f"{len(faults)} picture(s) could not be decoded and are left out{listing(faults)}", stacklevel=2)
    return vectors


def encode_texts_batched(encoder: Encoder, texts: Sequence[str], batch_size: int = 256) -> Float[np.ndarray, "n dim"]:
    """One unit vector per text; each distinct text is encoded once, those of similar length together."""
    once = distinct(texts)
    vectors = np.empty((len(once.texts), encoder.dim), dtype=np.float32)
    batches: Iterable[np.ndarray] = list(by_length([len(text) for text in once.texts], batch_size))
    if len(batches) > _MANY:
        batches = track(batches, label="encoding texts", unit="batches")
    for places in batches:
        vectors[places] = encoder.encode_texts([once.texts[place] for place in places]).cpu().numpy()
    return vectors[once.places.numpy()]


def ahead(
    one: Callable[[int], _Made], rows: Sequence[int] | np.ndarray, batch_size: int, *, threads: int | None = None
) -> Iterator[tuple[int, list[_Made]]]:
    """(first place, what `one` makes of each row) per batch, in order, made in threads while the last one is used.

    `threads`: null: one per core, 8 at most; 1 where `one` draws from a generator that threads share.
    """
    made = ordered(
        one, map(int, rows), threads=threads or max(1, min(8, os.cpu_count() or 1)), waiting=_AHEAD * batch_size
    )
    for start in range(0, len(rows), batch_size):
        yield start, list(islice(made, batch_size))
