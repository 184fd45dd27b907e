"""Small pictures for pages and services.

    thumbnail(catalogue.picture(3), 96)        JPEG bytes; base64 where a page holds them in itself

Made of pixels alone: no EXIF, so no place, goes with them. Nothing here decides what may be shown.
"""

import base64
import io

from PIL import Image


def thumbnail(picture: Image.Image, side: int, *, quality: int = 72) -> bytes:
    """An RGB JPEG that fits a square of `side` pixels; the picture itself, which a cache may hold, stays as it is."""
    small = picture.convert("RGB")  # a copy, always
    small.info = {}  # Pillow would write a comment that it read
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def embedded(picture: Image.Image, side: int) -> str:
    """`thumbnail` in base64."""
    return base64.b64encode(thumbnail(picture, side)).decode("ascii")
