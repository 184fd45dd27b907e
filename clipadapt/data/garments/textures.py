"""What a fabric does to light: how much darker or lighter each point of the cloth is, and where it can be seen through.

Structures are drawn far coarser than real ones, or a picture of 64 pixels would not show them. Coordinates are those of
patterns. Knows nothing of colour: a shade of 1 leaves it as it is.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image

Field = Float32[np.ndarray, "height width"]


_COARSER = np.float32(1.4)


class Texture(NamedTuple):
    """The look of a fabric."""

    shade: Field
    """Factor on the colour."""
    gloss: Field | float = 0.0
    """White light added, in [0, 1]."""
    cover: Field | float = 1.0
    """1 where there is cloth, 0 in a hole."""


def texture(name: str, u: Field, v: Field, draw: np.random.Generator) -> Texture:
    """The texture of a fabric of the vocabulary."""
    return _TEXTURES[name](u / _COARSER, v / _COARSER, draw)


def _cotton(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    return Texture(np.ones_like(u))


def _denim(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    twill = np.sin(62.0 * (u + v))
    return Texture(0.96 + 0.13 * twill + 0.16 * _noise(u, 4, draw), gloss=0.06)


def _knitwear(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    column = np.abs(_fraction(u / 0.17) - 0.5)
    stitch = np.sin(2 * np.pi * (v / 0.13 - 1.6 * column))
    return Texture(0.92 + 0.26 * stitch - 0.5 * (column > 0.43).astype(np.float32))


def _linen(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    height, width = u.shape
    weft = _stretched(draw.standard_normal((height // 3, 6)), (height, width))
    warp = _stretched(draw.standard_normal((6, width // 3)), (height, width))
    return Texture(1.0 + 0.09 * weft + 0.09 * warp)


def _satin(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    bend = np.float32(draw.uniform(0, 6.28))
    wave = np.sin(7.0 * u + 2.2 * np.sin(2.4 * v + bend) + bend)
    return Texture(0.82 + 0.1 * wave, gloss=0.55 * np.maximum(wave, 0) ** 5)


def _corduroy(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    return Texture(0.86 + 0.3 * np.sin(2 * np.pi * u / 0.115))


def _wool(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    return Texture(0.95 + 0.22 * _noise(u, 12, draw))


def _leather(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    folds = _noise(u, 26, draw)
    return Texture(0.72 + 0.06 * folds, gloss=0.75 * np.clip(folds - 0.65, 0, 1))


def _lace(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    x, y = _fraction(u / 0.2) - 0.5, _fraction(v / 0.2) - 0.5
    holes = (x * x + y * y < 0.09) | (np.abs(np.abs(x) - 0.5) + np.abs(np.abs(y) - 0.5) < 0.16)
    return Texture(np.ones_like(u), cover=1.0 - 0.85 * holes.astype(np.float32))


def _quilted(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    a, b = np.sin(np.pi * (u + v) / 0.3), np.sin(np.pi * (u - v) / 0.3)
    return Texture(0.55 + 0.6 * np.sqrt(np.abs(a * b)))


def _sequins(u: Field, v: Field, draw: np.random.Generator) -> Texture:
    sparkle = _noise(u, 8, draw)
    return Texture(0.8 + 0.2 * sparkle, gloss=np.clip(1.1 * (sparkle - 0.9), 0, 0.9))


def _noise(like: Field, grain: int, draw: np.random.Generator) -> Field:
    """Smooth noise of unit variance at its knots, which are `grain` points apart."""
    height, width = like.shape
    return _stretched(draw.standard_normal((height // grain + 2, width // grain + 2)), (height, width))


def _stretched(knots: np.ndarray, shape: tuple[int, int]) -> Field:
    picture = Image.fromarray(knots.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def _fraction(x: Field) -> Field:
    return x - np.floor(x)


_TEXTURES: dict[str, Callable[[Field, Field, np.random.Generator], Texture]] = {
    "cotton": _cotton,
    "denim": _denim,
    "knitwear": _knitwear,
    "linen": _linen,
    "satin": _satin,
    "corduroy": _corduroy,
    "wool": _wool,
    "leather": _leather,
    "lace": _lace,
    "quilted fabric": _quilted,
    "sequins": _sequins,
}
