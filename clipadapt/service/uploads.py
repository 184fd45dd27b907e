"""An uploaded picture: judged by its header, then decoded as every picture here is.

Pixels are counted before any of them is decoded, and only a few pictures are decoded at once, so a small file that
claims to be huge costs nothing. Nothing of a request is ever taken for a path or an address.
"""

import io
import threading
import warnings

from PIL import Image, UnidentifiedImageError, features

from clipadapt.data.decode import decode
from clipadapt.errors import CatalogueError, brief
from clipadapt.service.problems import Problem
from clipadapt.service.settings import Limits

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", *(("AVIF",) if features.check("avif") else ()))
"""Each parser is a risk, so only what cameras and browsers give."""
_WANTED = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"


class Uploads:
    """Decodes what clients send, a bounded number at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoding = threading.BoundedSemaphore(limits.decoding)

    def picture(self, data: bytes) -> Image.Image:
        """The picture, upright, in sRGB.

        Raises:
            Problem: 413 too many pixels, 415 no picture or a format that is not taken, 422 broken or truncated.
        """
        self._check(data)
        with self._decoding:
            try:
                return decode(data)
            except CatalogueError as error:  # whose advice is for whoever keeps a catalogue
                raise _broken(error.__cause__ or error) from error

    def _check(self, data: bytes) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own bound warns; the one below refuses
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    width, height = image.size
        except UnidentifiedImageError as error:
            raise Problem(415, "unsupported_type", f"not a picture of a known format; send {_WANTED}") from error
        except Image.DecompressionBombError as error:
            raise Problem(413, "too_large", f"too many pixels; {self._limits.pixels:,} are the most") from error
        except Exception as error:  # Pillow's parsers raise OSError, SyntaxError, ValueError, struct.error and others
            raise _broken(error) from error
        if width * height > self._limits.pixels:
            raise Problem(
                413, "too_large", f"{width}x{height} pixels; {self._limits.pixels:,} are the most, shrink the picture"
            )


def _broken(error: BaseException) -> Problem:
    said = brief(str(error)) or type(error).__name__
    return Problem(422, "bad_picture", f"the picture is broken or cut off ({said}); send all of it again, as {_WANTED}")
