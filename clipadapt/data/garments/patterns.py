"""What is printed or woven on a garment in a second colour: a field over the cloth, 0 the base colour, 1 the other.

Each pattern is a function of cloth coordinates (u across, v down; a garment is about two units wide) and a generator
that belongs to the product, so that all pictures of a product show the same cloth. Knows nothing of shape or light.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "height width"]
Pattern = Callable[[Field, Field, np.random.Generator], Field]


def pattern(name: str, u: Field, v: Field, draw: np.random.Generator) -> Field:
    """The second colour's amount in [0, 1] at each point of the cloth, for a pattern of the vocabulary."""
    size = np.float32(draw.uniform(1.2, 1.6))
    shift = draw.uniform(0.0, 1.0, 2).astype(np.float32)
    return _PATTERNS[name](u / size + shift[0], v / size + shift[1], draw)


def _plain(u: Field, v: Field, draw: np.random.Generator) -> Field:
    return np.zeros_like(u)


def _striped(u: Field, v: Field, draw: np.random.Generator) -> Field:
    across = u if draw.random() < 0.4 else v
    return _band(across, period=0.24, share=draw.uniform(0.35, 0.6))


def _checked(u: Field, v: Field, draw: np.random.Generator) -> Field:
    share = draw.uniform(0.4, 0.55)
    return (_band(u, 0.3, share) + _band(v, 0.3, share)) / 2


def _dotted(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y, _, _ = _cells(u, v, 0.24)
    return _as_field(x * x + y * y < 0.075)


def _floral(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y, _, _ = _cells(u, v, 0.46)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    petals = radius < 0.27 + 0.15 * np.cos(5 * angle)
    return _as_field(petals & (radius > 0.1))


def _zigzag(u: Field, v: Field, draw: np.random.Generator) -> Field:
    fold = np.abs(_fraction(u / 0.34) - 0.5) * 0.34
    return _band(v + fold, period=0.24, share=0.5)


def _camouflage(u: Field, v: Field, draw: np.random.Generator) -> Field:
    a, b, c, d = draw.uniform(0, 2 * np.pi, 4).astype(np.float32)
    waves = np.sin(6.1 * u + 2.3 * np.sin(4.7 * v + a) + b) + np.sin(7.3 * v + 2.1 * np.sin(5.3 * u + c) + d)
    return np.where(waves > 0.75, np.float32(1.0), np.where(waves > -0.35, np.float32(0.5), np.float32(0.0)))


def _leopard(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y, row, column = _cells(u, v, 0.26)
    turn = _hashed(row, column) * 6.28
    radius, angle = np.hypot(x, y * 1.2), np.arctan2(y, x)
    ring = (radius > 0.18) & (radius < 0.4) & (np.cos(angle - turn) > -0.75)
    return _as_field(ring)


def _pleated(u: Field, v: Field, draw: np.random.Generator) -> Field:
    # A fold hides in its own shadow: the base colour falls towards a dark one and jumps back.
    return _fraction(u / 0.2)


def _argyle(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y = _fraction(u / 0.5) - 0.5, _fraction(v / 0.8) - 0.5
    diamond = np.abs(x) + np.abs(y) < 0.5
    line = np.abs(np.abs(x) + np.abs(y) - 0.25) < 0.04
    return np.where(line, np.float32(0.4), _as_field(diamond))


def _tie_dye(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y = u - 0.5 - np.float32(draw.uniform(-0.2, 0.2)), v - 0.4
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    return (0.5 + 0.5 * np.sin(9.0 * radius + 2.0 * angle + 0.8 * np.sin(5 * angle))) ** 2


def _colour_blocked(u: Field, v: Field, draw: np.random.Generator) -> Field:
    place = np.float32(draw.uniform(-0.15, 0.05))
    return _as_field(v - 0.5 > place)


def _starry(u: Field, v: Field, draw: np.random.Generator) -> Field:
    x, y, _, _ = _cells(u, v, 0.34)
    return _as_field(np.sqrt(np.abs(x)) + np.sqrt(np.abs(y)) < 0.66)


def _band(along: Field, period: float, share: float) -> Field:
    return _as_field(_fraction(along / np.float32(period)) < share)


def _cells(u: Field, v: Field, period: float) -> tuple[Field, Field, Field, Field]:
    """Position inside a cell of a brick-like grid, (-0.5, 0.5) each, and the cell's row and column."""
    row = np.floor(v / np.float32(period))
    across = u / np.float32(period) + 0.5 * (row % 2)
    column = np.floor(across)
    return across - column - 0.5, v / np.float32(period) - row - 0.5, row, column


def _hashed(row: Field, column: Field) -> Field:
    """A number in [0, 1) for each cell."""
    return _fraction(np.sin(row * 12.9898 + column * 78.233) * 437.585)


def _fraction(x: Field) -> Field:
    return x - np.floor(x)


def _as_field(mask: np.ndarray) -> Field:
    return mask.astype(np.float32)


_PATTERNS: dict[str, Pattern] = {
    "solid": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
    "zigzag": _zigzag,
    "camouflage": _camouflage,
    "leopard print": _leopard,
    "pleated": _pleated,
    "argyle": _argyle,
    "tie-dye": _tie_dye,
    "colour-blocked": _colour_blocked,
    "starry": _starry,
}
