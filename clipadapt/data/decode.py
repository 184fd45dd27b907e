"""Encoded bytes -> an upright RGB picture.

Accepts whatever shops have lying about (CMYK, 16 bits, palettes, transparency, EXIF rotation) and refuses what is
broken. Nothing here knows of catalogues or tensors: messages say what is wrong with a picture, the caller says which.
"""

import io
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from clipadapt.errors import CatalogueError

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded: a quarter of a gigabyte as RGB. Source: Pillow's own decompression-bomb bound."""

PREPARED = "prepared"
"""Key in a picture's info under which a prepared cache notes the policy it was made by."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright. Source: CIPA DC-008 (Exif 2.32), tag 0x0112."""


@runtime_checkable
class PixelPolicy(Protocol):
    """How pictures are fitted to a tower, as images.Preprocess knows it."""

    def geometry(self) -> dict[str, Any]:
        """What decides the uint8 pixels, and so which prepared cache serves."""
        ...


def decode(data: bytes) -> Image.Image:
    """The picture, upright, in RGB at 8 bits, transparency laid on white; the first frame of an animation.

    Raises:
        CatalogueError: not a picture, truncated, broken, or larger than MAX_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise CatalogueError(
                    f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} that are decoded; "
                    "shrink the picture"
                )
            image.load()
            return _upright(_rgb(image))
    except CatalogueError:
        raise
    except UnidentifiedImageError as error:
        raise CatalogueError(
            f"not a picture that can be read ({len(data):,} bytes); replace it or take it out"
        ) from error
    except Image.DecompressionBombError as error:
        raise CatalogueError(
            f"more than the {MAX_PIXELS:,} pixels that are decoded; shrink the picture: {error}"
        ) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise CatalogueError(f"broken or truncated picture ({error}); replace it or take it out") from error


class Header(NamedTuple):
    """What a file says of its picture before any pixel is decoded."""

    mode: str
    """Pillow's: RGB, L, CMYK, P, RGBA, I;16, ..."""
    width: int
    height: int
    orientation: int
    """EXIF's, 1 for upright; width and height are as stored, before turning."""


def header(data: bytes) -> Header:
    """Reads the header alone.

    Raises:
        CatalogueError: not a picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return Header(image.mode, image.width, image.height, _orientation(image))
    except Exception as error:  # as in decode
        raise CatalogueError(f"not a picture that can be read ({error}); replace it or take it out") from error


def _rgb(image: Image.Image) -> Image.Image:
    """RGB at 8 bits, whatever the stored mode."""
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Adobe writes CMYK inverted and marks the file; Pillow assumes it of every CMYK JPEG, marked or not.
        return ImageChops.invert(image).convert("RGB")
    if mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, (255, 255, 255, 255))
    background.alpha_composite(image)
    return background.convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a copy was asked for"
    return converted


def _eight_bits(values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """One channel of 16 or 32 bits or of floats onto 0..255; Pillow's own conversion clips instead of scaling.

    Integers are 16-bit when they fit there, else 32-bit; floats are 0..1 when they fit there, else bytes, else 16-bit.
    """
    numbers = np.nan_to_num(values.astype(np.float64))
    top = numbers.max(initial=0.0)
    if values.dtype.kind == "f":
        full = 1.0 if top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    else:
        full = 65535.0 if top <= 65535.0 else 2147483647.0
    return np.clip(np.round(numbers * (255.0 / full)), 0, 255).astype(np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF that cannot be parsed says nothing of orientation; the pixels are sound
        return 1
