"""Colour profiles: pictures are converted to sRGB where the profile that they carry fits their mode.

Colour is an attribute, and a photo in Display P3 or from a printing press names other colours by the same numbers. A
picture without a profile is taken as sRGB; one whose profile does not fit its mode (left behind by a conversion), or
cannot be read, keeps its numbers, and `data check` counts it. Nothing here knows of catalogues.
"""

import functools
import io
from typing import Any

from PIL import Image, ImageCms

_SPACES = {"RGB": ("RGB",), "CMYK": ("CMYK",), "L": ("GRAY",)}
"""Pillow's mode -> the colour spaces of profiles that fit it."""


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB, in the mode RGB where it was converted; as it is where no profile fits."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in _SPACES:
        return image
    transform = _transform(bytes(profile), image.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a copy was asked for"
    return converted


def profile_of(profile: bytes | None, mode: str) -> str:
    """What a profile is, in words: "" for none or sRGB, its name, or why it is not used."""
    if not profile:
        return ""
    opened = _opened(bytes(profile))
    if opened is None:
        return "a colour profile that cannot be read"
    name = ImageCms.getProfileDescription(opened).strip() or "a profile without a name"
    if _space(opened) not in _SPACES.get(_plain(mode), ()):
        return f"{name}, which does not fit {mode}"
    return "" if _is_srgb(opened) else name


def _plain(mode: str) -> str:
    """The mode that colours are converted in: RGB for RGBA and palettes, L for LA."""
    return {"RGBA": "RGB", "P": "RGB", "PA": "RGB", "LA": "L", "RGBX": "RGB"}.get(mode, mode)


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where nothing is to be done, or nothing can be."""
    opened = _opened(profile)
    if opened is None or _space(opened) not in _SPACES[mode] or _is_srgb(opened):
        return None
    try:
        return ImageCms.buildTransform(
            opened, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except ImageCms.PyCMSError:
        return None


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (OSError, ImageCms.PyCMSError):
        return None


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    inner: Any = profile.profile  # typed as a file by Pillow's stubs
    return inner.xcolor_space.strip()


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return "srgb" in ImageCms.getProfileDescription(profile).lower().replace(" ", "")


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
