"""Encoded bytes -> an upright sRGB picture: the one way in which anything here turns a picture into pixels.

Accepts whatever shops have lying about (CMYK, 16 bits, palettes, transparency, colour profiles, EXIF rotation) and
refuses what is broken. Nothing here knows of catalogues or tensors: messages say what is wrong with a picture, the
caller says which.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from clipadapt.data.deep import Deep, Limits, deep_array, deep_of, eight_bits, found_limits, is_deep, of_pillow
from clipadapt.data.pictures import Pictures
from clipadapt.data.profiles import profile_of, to_srgb
from clipadapt.data.unreadable import reason
from clipadapt.errors import CatalogueError, listing

VERSION = 2
"""Of what this module makes of a file; caches made by another are not used."""
SAMPLE = 256
"""Pictures that a catalogue's range is found from."""

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


def require_policy(policy: Mapping[str, Any], preprocess: PixelPolicy, where: str | Path) -> None:
    """Refuses a tower that wants other pixels than what was prepared at `where` by a policy.

    Raises:
        CatalogueError: another policy; every difference is named.
    """
    wanted = preprocess.geometry()
    differing = [
        f"{key}: cache {policy.get(key)!r}, model {wanted.get(key)!r}"
        for key in sorted(wanted.keys() | policy.keys())
        if policy.get(key) != wanted.get(key)
    ]
    if differing:
        raise CatalogueError(
            f"{where}: holds pictures that were resized for another model:{listing(differing)}"
            "\nresize the originals for this one (clipadapt data prepare SOURCE --model M, with --out DIR for a cache, "
            "with --shards DIR for a source), or name the originals: unset data.prepared, or set data.source"
        )


class Decoding:
    """How the pictures of one catalogue become 8 bits: the same for every item.

    Decoding()                              a picture that belongs to no catalogue
    Decoding(limits=(0, 4095))              data.range
    Decoding(bands=(4, 3, 2))               data.bands
    Decoding(sample=lambda: rows.pictures)  the range is found from these, when the first deep picture is met
    """

    def __init__(
        self,
        limits: Limits | None = None,
        bands: tuple[int, ...] | None = None,
        sample: Callable[[], Pictures] | None = None,
    ) -> None:
        self.bands = bands
        self._limits = limits
        self._sample = sample

    def __reduce__(self) -> tuple[type["Decoding"], tuple[Limits | None, tuple[int, ...] | None]]:
        return Decoding, (self.limits, self.bands)

    @property
    def limits(self) -> Limits | None:
        """What becomes black and white in deep pictures; None: all that a picture's type can hold."""
        if self._limits is None and self._sample is not None:
            sample, self._sample = self._sample, None
            self._limits = found_limits(_deep_ones(sample()))
        return self._limits

    def describe(self) -> dict[str, Any]:
        """What a prepared cache was made by."""
        limits, bands = self.limits, self.bands
        return {"decoder": VERSION, "range": limits and list(limits), "bands": bands and list(bands)}

    def key(self, data: bytes) -> str:
        """What besides the file decides the pixels of a picture; for the keys of caches."""
        deep = deep_header(data)
        return f"decoder {VERSION}" + (f", limits {self.limits}, bands {self.bands}" if deep else "")


def _deep_ones(pictures: Pictures) -> Iterator[Deep]:
    """Those of a sample, evenly spread, whose look a range decides."""
    for position in range(0, len(pictures), max(1, len(pictures) // SAMPLE)):
        try:
            data = pictures.read(position)
            deep = deep_array(data)
            if deep is None and deep_header(data):
                with Image.open(io.BytesIO(data)) as image:
                    deep = of_pillow(image)
        except (CatalogueError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # whoever decodes it reports it
        if deep is not None:
            yield deep


def deep_header(data: bytes) -> bool:
    """Whether a range or bands decide how the picture looks; from its header."""
    if data[:3] == b"\xff\xd8\xff" or data[:4] in (b"RIFF", b"GIF8"):  # most pictures; these never are
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode.startswith(("I", "F")) or deep_array(data) is not None
    except Exception:  # what Pillow cannot open may be a TIFF that tifffile can
        return data[:2] in (b"II", b"MM")


def decode(data: bytes, how: Decoding | None = None) -> Image.Image:
    """The picture, upright, in sRGB at 8 bits, transparency laid on white; the first frame of an animation.

    Args:
        how: of the catalogue that the picture belongs to; None: of none.

    Raises:
        CatalogueError: not a picture, truncated, broken, larger than MAX_PIXELS, or of bands that nothing explains.
    """
    how = how or Decoding()
    try:
        _refuse_large(data)
        deep = deep_array(data)
        if deep is not None:
            return _upright(_from_deep(deep, how), deep.orientation)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return rgb_of(image, how)
    except CatalogueError:
        raise
    except UnidentifiedImageError as error:
        raise CatalogueError(reason(data)) from error
    except Image.DecompressionBombError as error:
        raise CatalogueError(
            f"more than the {MAX_PIXELS:,} pixels that are decoded; shrink the picture: {error}"
        ) from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and others
        raise CatalogueError(f"broken or truncated picture ({error}); replace it or take it out") from error


def picture_of(given: Any) -> Image.Image:
    """What callers hand over as a picture, as `decode` gives it: the path of a file, a Pillow picture, or its pixels.

    Pixels are [h, w], [h, w, 3] or [h, w, 4], the fourth being opacity; black and white are the ends of what their type
    can hold, 0 and 1 for floats that fit there.

    Raises:
        CatalogueError: a file that is not there or cannot be decoded, pixels of another shape.
        TypeError: neither of them.
    """
    if isinstance(given, str | Path):
        try:
            return decode(Path(given).expanduser().read_bytes())
        except OSError as error:
            raise CatalogueError(f"cannot be read: {error.strerror}; check the path") from error
    if isinstance(given, Image.Image):
        return rgb_of(given)
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "uif":
        kind = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else type(given).__name__
        raise TypeError(f"{kind} is no picture; pass a path, a PIL picture or an array of numbers")
    if given.ndim not in (2, 3) or (given.ndim == 3 and given.shape[2] not in (1, 3, 4)) or not given.size:
        raise CatalogueError(f"pixels of shape {given.shape}; they are [h, w], [h, w, 3] or [h, w, 4]")
    values = np.atleast_3d(given)
    if values.dtype == np.uint8:
        return rgb_of(Image.fromarray(values[..., 0] if values.shape[2] == 1 else values))
    opacity = values.shape[2] == 4
    return _from_deep(deep_of(values[..., :3], values[..., 3] if opacity else None), Decoding())


def rgb_of(image: Image.Image, how: Decoding | None = None) -> Image.Image:
    """A picture that Pillow opened, as `decode` gives it; for pictures that are no file.

    A 16-bit colour file loses its low byte when Pillow opens it: pass the file itself to `decode`.
    """
    image.load()  # a PNG may say last how it is turned
    if image.mode == "RGB" and not image.info.keys() & {"transparency", "icc_profile", "exif", PREPARED}:
        return image
    if PREPARED in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    orientation = _orientation(image)  # before conversions, which forget it
    found = _upright(_rgb(image, how or Decoding()), orientation)
    for done in ("exif", "icc_profile", "transparency"):  # or the result would be turned and converted once more
        found.info.pop(done, None)
    return found


def _refuse_large(data: bytes) -> None:
    with contextlib.suppress(UnidentifiedImageError), Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise CatalogueError(
                f"{image.width}x{image.height} pixels are more than the {MAX_PIXELS:,} that are decoded; "
                "shrink the picture"
            )


def _from_deep(deep: Deep, how: Decoding) -> Image.Image:
    values = eight_bits(deep, how.limits if is_deep(deep) else None, how.bands)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).convert("RGB")


class Header(NamedTuple):
    """What a file says of its picture before any pixel is decoded."""

    mode: str
    """Pillow's: RGB, L, CMYK, P, RGBA, I;16, ..."""
    width: int
    height: int
    orientation: int
    """EXIF's, 1 for upright; width and height are as stored, before turning."""
    profile: str = ""
    """Its colour profile in words: "" for none or sRGB."""
    deep: bool = False
    """More than 8 bits a channel, or bands of its own."""


def header(data: bytes) -> Header:
    """Reads the header alone.

    Raises:
        CatalogueError: not a picture that can be read.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            profile = profile_of(image.info.get("icc_profile"), image.mode)
            return Header(image.mode, image.width, image.height, _orientation(image), profile, deep_header(data))
    except UnidentifiedImageError as error:  # its text is the address of a buffer
        raise CatalogueError(reason(data)) from error
    except Exception as error:  # as in decode
        raise CatalogueError(f"not a picture that can be read ({error}); replace it or take it out") from error


def _rgb(image: Image.Image, how: Decoding) -> Image.Image:
    """sRGB at 8 bits, whatever the stored mode."""
    mode = image.mode
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image)
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Adobe writes CMYK inverted and marks the file; Pillow assumes it of every CMYK JPEG, marked or not.
        info = image.info
        image = ImageChops.invert(image)
        image.info = info
    if mode.startswith(("I", "F")):
        return _from_deep(of_pillow(image), how)
    if mode == "LAB":
        return _from_lab(image)
    if mode == "P":
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        image.info["icc_profile"] = profile
    return to_srgb(image).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Colours converted to sRGB, then laid on white."""
    profile = image.info.get("icc_profile")
    layers = image.convert("RGBA")
    colours = layers.convert("L") if image.mode in ("LA", "La") else Image.merge("RGB", layers.split()[:3])
    colours.info["icc_profile"] = profile
    background = Image.new("RGBA", image.size, (255, 255, 255, 255))
    flat = to_srgb(colours).convert("RGB")
    background.alpha_composite(Image.merge("RGBA", (*flat.split(), layers.getchannel("A"))))
    return background.convert("RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a copy was asked for"
    return converted


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF that cannot be parsed says nothing of orientation; the pixels are sound
        return 1
