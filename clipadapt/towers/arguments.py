"""What callers hand to an encoder, checked and read: the same for torch and for ONNX.

    pictures_of(several([path, array, picture]))   upright RGB pictures, as a catalogue has them
    texts_of(["a red shirt"])                      a list of texts; a bare string is refused

Nothing here imports torch or knows a model.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipadapt.data.decode import picture_of
from clipadapt.errors import CatalogueError, UsageError

Picture = Image.Image | np.ndarray | str | Path
"""A picture, its pixels [h, w], [h, w, 3] or [h, w, 4], or the path of its file."""


def several(given: Iterable[Picture] | Picture) -> Sequence[Picture]:
    """Pictures as a sequence.

    Raises:
        UsageError: a single picture.
    """
    if isinstance(given, str | Path | Image.Image) or (isinstance(given, np.ndarray) and given.ndim < 4):
        raise UsageError("one picture where a list of pictures is wanted; put it in brackets: encode_images([picture])")
    return list(given)


def pictures_of(given: Sequence[Any], first: int = 0) -> list[Image.Image]:
    """Each picture upright, in RGB, transparency on white: what a catalogue would give of the same file.

    Args:
        first: the number of the first one in messages, where these are a part of more.

    Raises:
        UsageError: something that is no picture.
        CatalogueError: a picture that cannot be read; names its path or number.
    """
    found = []
    for number, one in enumerate(given, first):
        try:
            found.append(picture_of(one))
        except CatalogueError as error:
            where = str(one) if isinstance(one, str | Path) else f"picture {number}"
            raise CatalogueError(f"{where}: {error}") from error
        except TypeError as error:
            raise UsageError(f"picture {number}: {error}") from error
    return found


def texts_of(given: Iterable[Any]) -> list[str]:
    """The texts as a list.

    Raises:
        UsageError: a bare string, which would be read letter by letter, or something that is no text.
    """
    if isinstance(given, str | bytes):
        raise UsageError(
            f"one text where a list of texts is wanted; put it in brackets: encode_texts([{given[:40]!r}])"
        )
    found = list(given)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise UsageError(f"text {place} is {type(text).__name__} ({str(text)[:40]}), not a string")
    return found
