"""Makes a prepared cache and measures it: PSNR and SSIM against the original pipeline, images/s read back.

The cache appears whole or not at all. Nothing here reads a cache for training; that is clipadapt.data.prepared.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipadapt import progress
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import Decoding, decode
from clipadapt.data.images import Preprocess
from clipadapt.data.pictures import content_digest
from clipadapt.data.prepared import DESCRIPTION, SCHEMA_VERSION, PreparedPictures, ShardWriter, write_index
from clipadapt.data.quality import psnr, ssim
from clipadapt.errors import CatalogueError, listing
from clipadapt.store import atomic_folder
from clipadapt.threads import ordered

SHARD_BYTES = 128 * 2**20
MEASURED = 64
"""Pictures that quality and speed are measured on, spread over the catalogue."""

_SHOWN = 20
_CROP = math.sqrt(0.5)
"""Side of the crop that detail is measured on: half the area, the smallest that training takes by default."""


@dataclass(frozen=True)
class Preparation:
    """What was prepared and how good it is; decibels are None where pictures equal the originals' bit for bit."""

    items: int
    pictures: int
    """Distinct ones, as stored."""
    broken: int
    megabytes: float
    psnr: float | None
    """Smallest of the measured pictures, as evaluation sees them."""
    ssim: float
    crop_psnr: float | None
    """Mean over a training crop of half the area, cut from the cache against cut from the original."""
    crop_ssim: float
    images_per_second: float
    """Read back from the cache, in one thread."""
    originals_per_second: float
    """Decoded and resized from the original files, in one thread."""


def prepare(
    catalogues: Mapping[str, Catalogue],
    preprocess: Preprocess,
    out: str | Path,
    *,
    broken: Literal["error", "count"] = "error",
    shard_bytes: int = SHARD_BYTES,
) -> Preparation:
    """Decodes every picture of the splits into a cache at `out`; an up-to-date cache there is only measured again.

    Raises:
        CatalogueError: broken pictures (all of them named) unless they are to be counted, or `out` holds a cache of
            another policy or content; or the source holds pictures that were resized for another model.
        StoreError: the disk is full or cannot be written; nothing is left behind.
    """
    for catalogue in catalogues.values():
        catalogue.require(preprocess)
    folder = Path(out).expanduser()
    if (folder / DESCRIPTION).exists():
        _same(PreparedPictures.open(folder), catalogues, preprocess)
    elif folder.exists() and any(folder.iterdir()):
        raise CatalogueError(f"{folder}: not empty and no prepared cache; name a new folder")
    else:
        with atomic_folder(folder) as staging:
            _write(staging, catalogues, preprocess, broken, shard_bytes)
    return _measure(PreparedPictures.open(folder), catalogues, preprocess)


def _same(cache: PreparedPictures, catalogues: Mapping[str, Catalogue], preprocess: Preprocess) -> None:
    cache.require(preprocess)
    if missing := sorted(set(catalogues) - set(cache.description["splits"])):
        raise CatalogueError(
            f"{cache.path}: holds no split {', '.join(map(repr, missing))}; name a new folder, or delete this one"
        )
    for catalogue in catalogues.values():
        cache.attach(catalogue)


def _write(
    folder: Path, catalogues: Mapping[str, Catalogue], preprocess: Preprocess, broken: str, shard_bytes: int
) -> None:
    writer = ShardWriter(folder, preprocess.size, shard_bytes)
    rows: dict[str, list] = {name: [] for name in ("split", "id", "digest", "stamp", "picture")}
    faults: list[str] = []
    for split, catalogue in catalogues.items():
        decoded = ordered(_decoder(catalogue, preprocess), range(len(catalogue)))
        shown = progress.track(decoded, total=len(catalogue), label=f"preparing {split}", unit="pictures")
        for index, (digest, pixels, fault) in enumerate(shown):
            if fault:
                faults.append(f"item {catalogue.ids[index]!r}, {catalogue.place(index)}: {fault}")
            rows["digest"].append(digest)
            rows["picture"].append(-1 if pixels is None else writer.add(digest, pixels))
        rows["split"] += [catalogue.split] * len(catalogue)
        rows["id"] += catalogue.ids
        rows["stamp"] += catalogue.pictures.stamps()
    writer.flush()
    if faults and broken == "error":
        raise CatalogueError(
            f"{len(faults)} picture(s) cannot be prepared:{listing(faults, _SHOWN)}"
            "\ncorrect them, or leave them out with data.broken: count"
        )
    if not len(writer):
        raise CatalogueError("not one picture can be prepared; run `clipadapt data check` on the source")
    description = {
        "schema_version": SCHEMA_VERSION,
        "policy": preprocess.geometry(),
        "decoding": next(iter(catalogues.values())).decoding.describe(),
        "shards": writer.names,
        "shard_rows": writer.rows,
        "pictures": len(writer),
        "broken": faults,
        "splits": {
            split: {"source": catalogue.source, "items": len(catalogue), "fingerprint": catalogue.fingerprint}
            for split, catalogue in catalogues.items()
        },
    }
    write_index(folder, rows, description)


def _decoder(
    catalogue: Catalogue, preprocess: Preprocess
) -> Callable[[int], tuple[str, UInt8[np.ndarray, "size size 3"] | None, str]]:
    def decode_item(index: int) -> tuple[str, np.ndarray | None, str]:
        digest = ""
        try:
            data = catalogue.pictures.read(index)
            digest = content_digest(data)
            return digest, preprocess.pixels(decode(data, catalogue.decoding)), ""
        except CatalogueError as error:
            return digest, None, str(error)

    return decode_item


def _measure(cache: PreparedPictures, catalogues: Mapping[str, Catalogue], preprocess: Preprocess) -> Preparation:
    attached = [cache.attach(catalogue) for catalogue in catalogues.values()]
    items = [(catalogue, index) for catalogue in attached for index in range(len(catalogue))]
    chosen = [items[at] for at in np.linspace(0, len(items) - 1, min(MEASURED, len(items))).astype(int)]
    encoded = [catalogue.picture_bytes(index) for catalogue, index in chosen]
    started = time.perf_counter()
    fresh = [
        preprocess.pixels(decode(data, catalogue.decoding))
        for data, (catalogue, _) in zip(encoded, chosen, strict=True)
    ]
    middle = time.perf_counter()
    stored = [preprocess.pixels(catalogue.picture(index)) for catalogue, index in chosen]
    ended = time.perf_counter()
    crops = [
        (_crop_of_original(data, catalogue.decoding, preprocess), _crop(pixels))
        for data, (catalogue, _), pixels in zip(encoded, chosen, stored, strict=True)
    ]
    return Preparation(
        items=len(items),
        pictures=cache.description["pictures"],
        broken=len(cache.description["broken"]),
        megabytes=round(sum(file.stat().st_size for file in cache.path.iterdir()) / 1e6, 1),
        psnr=_finite(min(psnr(one, other) for one, other in zip(fresh, stored, strict=True))),
        ssim=min(ssim(one, other) for one, other in zip(fresh, stored, strict=True)),
        crop_psnr=_finite(float(np.mean([psnr(*pair) for pair in crops]))),
        crop_ssim=float(np.mean([ssim(*pair) for pair in crops])),
        images_per_second=round(len(chosen) / (ended - middle), 1),
        originals_per_second=round(len(chosen) / (middle - started), 1),
    )


def _crop(pixels: UInt8[np.ndarray, "size size 3"], size: int | None = None) -> UInt8[np.ndarray, "out out 3"]:
    """The middle half of the area, resized to `size`, or to the size it was cut from."""
    side = len(pixels)
    margin = side * (1.0 - _CROP) / 2.0
    box = (margin, margin, side - margin, side - margin)
    target = (size or side, size or side)
    return np.array(Image.fromarray(pixels).resize(target, Image.Resampling.BICUBIC, box=box))


def _crop_of_original(data: bytes, how: Decoding, preprocess: Preprocess) -> UInt8[np.ndarray, "size size 3"]:
    """The same crop from the picture at up to four times the size, which keeps the detail a crop can show."""
    picture = decode(data, how)
    factor = min(max(math.ceil(min(picture.size) / preprocess.size), 1), 4)
    larger = replace(preprocess, size=preprocess.size * factor, edge=preprocess.geometry()["edge"] * factor)
    return _crop(larger.pixels(picture), preprocess.size)


def _finite(decibels: float) -> float | None:
    return None if math.isinf(decibels) else round(decibels, 2)
