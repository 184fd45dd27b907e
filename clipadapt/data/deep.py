"""Pictures that Pillow would not read right: more than 8 bits a channel, floats, other than one, three or four bands.

    deep = deep_array(data)                   # Deep(values [h, w, bands], ...) or None for an ordinary picture
    eight_bits(deep, limits=(0, 4095))        # uint8 [h, w, 1 | 3]

Pillow keeps the high byte of 16-bit colour TIFFs and PNGs, makes noise of planar ones and negatives of 16-bit ones in
which white is zero; tifffile and imagecodecs read them as they are. Which numbers are black and white is one rule for a
catalogue, never for a picture: `data.range`, or the range found from its pictures (`found_limits`), or, for a picture
that belongs to none, all that its type can hold. Nothing here knows of catalogues.
"""

import io
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from clipadapt.errors import CatalogueError

Limits = tuple[float, float]
"""The numbers that become black and white."""

_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_QUANTILE = 0.999
"""Of a picture's numbers, below which it fits a range: a few glaring pixels do not darken all others."""


class Deep(NamedTuple):
    """The numbers of a picture."""

    values: Shaped[np.ndarray, "h w bands"]
    white_is_zero: bool = False
    alpha: Shaped[np.ndarray, "h w"] | None = None
    """0 to 1."""
    orientation: int = 1
    """As EXIF numbers it."""


def deep_array(data: bytes) -> Deep | None:
    """The numbers of a picture that has more than 8 bits or unusual bands; None for one that Pillow reads right.

    Raises:
        CatalogueError: it cannot be read without losing something.
    """
    if data[:8] == _PNG and len(data) > 25 and data[24] == 16:
        import imagecodecs

        return _with_alpha(imagecodecs.png_decode(data), alpha=data[25] in (4, 6))
    if data[:4] in _TIFF:
        return _tiff(data)
    return None


def deep_of(values: np.ndarray, opacity: np.ndarray | None = None) -> Deep:
    """Pixels [h, w, bands] and their opacity [h, w], in the range of their type."""
    alpha = None if opacity is None else opacity.astype(np.float32) / _full(opacity.dtype)
    return Deep(values, alpha=alpha)


def of_pillow(image: Image.Image) -> Deep:
    """One band of integers or floats, as Pillow reads it (modes I, I;16, F)."""
    return Deep(np.asarray(image)[..., None])


def is_deep(deep: Deep) -> bool:
    """Whether a range decides how it looks."""
    return deep.values.dtype != np.uint8


def found_limits(pictures: Iterable[Deep]) -> Limits | None:
    """The range that all these pictures fit, from 0 to 1, 255, 511, ... 65535 and so on; None where none is deep.

    A picture fits when 99.9% of its numbers do. Steps are those of bits, so that further pictures of the same camera
    have the same range.
    """
    top, floats = None, False
    for deep in pictures:
        if is_deep(deep) and deep.values.size:
            numbers = np.nan_to_num(deep.values.astype(np.float64), posinf=0.0, neginf=0.0)
            top = max(top or 0.0, float(np.quantile(numbers, _QUANTILE)))
            floats |= deep.values.dtype.kind == "f"
    if top is None:
        return None
    if floats and top <= 1.0:
        return 0.0, 1.0
    return 0.0, float(2 ** max(8, math.ceil(math.log2(top + 1))) - 1)


def type_limits(deep: Deep) -> Limits:
    """All that the type can hold; for floats, which can hold anything, what the picture itself fits."""
    kind = deep.values.dtype
    if kind.kind != "f":
        return 0.0, float(np.iinfo(kind).max)
    return found_limits([deep]) or (0.0, 1.0)


def eight_bits(deep: Deep, limits: Limits | None, bands: tuple[int, ...] | None) -> UInt8[np.ndarray, "h w three"]:
    """One or three bands at 8 bits; transparency laid on white.

    Args:
        limits: what becomes black and white; None: all that the type can hold.
        bands: which bands are red, green and blue, counted from 1; None: the first three, of at most four.

    Raises:
        CatalogueError: a picture of two bands, or of more than four without `bands`.
    """
    values = deep.values[..., _chosen(deep.values.shape[2], bands)]
    if is_deep(deep):
        low, high = limits or type_limits(deep)
        numbers = np.nan_to_num(values.astype(np.float32), posinf=high, neginf=low)
        values = np.clip(np.rint((numbers - low) * (255.0 / (high - low))), 0, 255)
    if deep.white_is_zero:
        values = 255 - values
    if deep.alpha is not None:
        values = np.rint(255.0 - (255.0 - values) * deep.alpha[..., None])
    return values.astype(np.uint8)


def _chosen(count: int, bands: tuple[int, ...] | None) -> list[int]:
    if bands is not None:
        if max(bands) > count or min(bands) < 1:
            raise CatalogueError(f"data.bands names {list(bands)} and the picture has {count}; count them from 1")
        return [band - 1 for band in bands]
    if count in (1, 3, 4):
        return list(range(min(count, 3)))
    raise CatalogueError(
        f"{count} bands, and nothing says which are red, green and blue; name three with data.bands, counted from 1, "
        "such as [4, 3, 2] for Sentinel-2"
    )


def _tiff(data: bytes) -> Deep | None:
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first.aspage()
            bits, samples = page.bitspersample, page.samplesperpixel
            if not isinstance(bits, int):
                raise CatalogueError(f"bands of {sorted(set(bits))} bits; save the picture with one depth")
            photometric = int(page.photometric)
            alphas = [place for place, kind in enumerate(page.extrasamples) if int(kind) in (1, 2)]
            colours = samples - len(page.extrasamples)
            ordinary = bits <= 8 and (samples in (1, 3) or bool(alphas) or photometric == _CMYK)
            if ordinary or photometric == _PALETTE:
                return None
            if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
                raise CatalogueError(f"a TIFF of {bits} bits in {page.photometric!r}; save it as RGB")
            values = page.asarray()
            if values.ndim == 3 and int(page.planarconfig) == _PLANAR:
                values = np.moveaxis(values, 0, -1)
            tag = page.tags.get("Orientation")
            orientation = int(tag.value) if tag is not None else 1
    except CatalogueError:
        raise
    except Exception as error:  # tifffile raises its own, struct.error, KeyError, ValueError and others
        raise CatalogueError(f"broken or unusual TIFF ({error}); replace it or take it out") from error
    values = values.reshape(*values.shape[:2], -1)
    alpha = None
    if alphas:
        alpha = values[..., colours + alphas[0]].astype(np.float32) / _full(values.dtype)
        values = values[..., :colours]
    return Deep(values, photometric == _WHITE_IS_ZERO, alpha, orientation)


_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _PLANAR = 0, 1, 2, 3, 5, 2
"""Numbers of TIFF 6.0: PhotometricInterpretation, PlanarConfiguration."""


def _with_alpha(values: np.ndarray, *, alpha: bool) -> Deep:
    values = values.reshape(*values.shape[:2], -1)
    if not alpha:
        return Deep(values)
    return deep_of(values[..., :-1], values[..., -1])


def _full(kind: np.dtype) -> float:
    return 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
