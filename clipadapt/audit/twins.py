"""Near-identical pictures where none belong: in two products, or in two splits.

    found = twins({"train": train, "validation": validation})            # by perceptual hash
    found = twins(catalogues, vectors, threshold)                        # and by vectors of a model

By hash: copies that were resized or compressed again (data/lookalikes.py). By vectors: also crops and mirrored copies;
two pictures are near when their cosine is as high as that of a picture and its own altered copy usually is, which
`likeness` measures for the model and the catalogue at hand instead of taking a number from elsewhere. A shop's photos
of different products on one background may pass too, so pairs come with their cosine, the most alike first, for a
person to look at. Nothing here decides which of two items is at fault.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps

from clipadapt import keyed
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.lookalikes import near_pairs
from clipadapt.errors import CatalogueError
from clipadapt.towers.encoder import Encoder

ALTERED = 64
"""Pictures that are altered to see how like themselves they stay."""
_LOWEST = 0.05
"""Share of altered pictures that the threshold misses."""
_BATCH = 16
_ROWS = 1024
_MOST = 10_000
"""Pairs kept by vectors, the most alike; more cannot be looked at."""


class Item(NamedTuple):
    """Where one of a pair is."""

    split: str
    row: int
    """Of its catalogue."""


class Twin(NamedTuple):
    """Two items that look alike."""

    one: Item
    other: Item
    by: Literal["hash", "vectors"]
    cosine: float | None
    """None where no model looked."""
    splits: bool
    """They are in two splits: what is measured was trained on."""
    products: bool
    """They are of two products."""


def twins(
    catalogues: Mapping[str, Catalogue],
    vectors: Mapping[str, Float[np.ndarray, "items dim"]] | None = None,
    threshold: float = 1.0,
) -> list[Twin]:
    """Pairs in two products or splits: those by hash, then others by vectors, each the most alike first.

    Args:
        vectors: unit length, of each catalogue; rows of broken pictures are NaN.
        threshold: cosine from which pictures are near.
    """
    where = [Item(split, row) for split, catalogue in catalogues.items() for row in range(len(catalogue))]
    products = np.concatenate([catalogue.products for catalogue in catalogues.values()])
    splits = np.array([item.split for item in where])
    every = None if vectors is None else np.nan_to_num(np.concatenate([vectors[split] for split in catalogues]))
    pairs = [
        (a, b)
        for a, b in np.sort(near_pairs(list(catalogues.values())), axis=1).tolist()
        if products[a] != products[b] or splits[a] != splits[b]
    ]
    cosines = [None if every is None else float(every[a] @ every[b]) for a, b in pairs]
    found = [_twin(where, products, pair, "hash", cosine) for pair, cosine in zip(pairs, cosines, strict=True)]
    if every is not None:
        found.sort(key=lambda twin: -(twin.cosine or 0.0))
        known = set(pairs)
        found += [
            _twin(where, products, (a, b), "vectors", cosine)
            for a, b, cosine in _near(every, products, splits, threshold)
            if (a, b) not in known
        ]
    return found


def likeness(encoder: Encoder, catalogue: Catalogue, vectors: Float[np.ndarray, "items dim"], seed: int = 0) -> float:
    """The cosine that 19 of 20 pictures keep with their own copy after a crop, a mirror image and JPEG at quality 60.

    Raises:
        CatalogueError: no picture can be read.
    """
    whole = np.flatnonzero(np.isfinite(vectors).all(axis=1)).tolist()
    rows = sorted(whole, key=lambda row: keyed.integer(seed, "likeness", catalogue.ids[row]))[:ALTERED]
    if not rows:
        raise CatalogueError(f"{catalogue.source}: not one picture of {catalogue.split!r} can be read")
    pixels = torch.stack([encoder.preprocess(altered(catalogue.picture(row))) for row in rows])
    copies = torch.cat([encoder.encode_images(some) for some in pixels.split(_BATCH)]).float().cpu().numpy()
    return float(np.quantile((vectors[rows] * copies).sum(axis=1), _LOWEST))


def altered(picture: Image.Image) -> Image.Image:
    """A mirrored copy without a twentieth of each side, saved as JPEG at quality 60."""
    width, height = picture.size
    margin = (round(width * 0.05), round(height * 0.05))
    cut = picture.crop((margin[0], margin[1], width - margin[0], height - margin[1]))
    file = io.BytesIO()
    ImageOps.mirror(cut).save(file, "JPEG", quality=60)
    return Image.open(file).convert("RGB")


def _near(
    vectors: Float[np.ndarray, "n dim"], products: np.ndarray, splits: np.ndarray, threshold: float
) -> Sequence[tuple[int, int, float]]:
    """Pairs in two products or splits whose cosine reaches the threshold, the most alike first."""
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors[start:].T
        left, right = np.nonzero(cosines >= threshold)
        later = left < right
        left, right = left[later], right[later]
        a, b = left + start, right + start
        apart = (products[a] != products[b]) | (splits[a] != splits[b])
        found += zip(a[apart].tolist(), b[apart].tolist(), cosines[left, right][apart].tolist(), strict=True)
        if len(found) > 4 * _MOST:
            found = sorted(found, key=lambda pair: -pair[2])[:_MOST]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))[:_MOST]


def _twin(
    where: Sequence[Item],
    products: np.ndarray,
    pair: tuple[int, int],
    by: Literal["hash", "vectors"],
    cosine: float | None,
) -> Twin:
    a, b = pair
    return Twin(where[a], where[b], by, cosine, where[a].split != where[b].split, bool(products[a] != products[b]))
