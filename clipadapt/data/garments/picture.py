"""One product in one pose, in one light, before one wall -> an RGB picture.

Drawn at twice the size and averaged down, so that edges and fine cloth are smooth. What belongs to the product (shade
of its colour, second colour, cloth) comes from the product's generator, what belongs to the photo from the photo's.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

from clipadapt import keyed
from clipadapt.data.garments.patterns import pattern
from clipadapt.data.garments.products import Product
from clipadapt.data.garments.shapes import Points, garment
from clipadapt.data.garments.textures import texture
from clipadapt.data.garments.vocabulary import COLOURS

Field = Float32[np.ndarray, "height width"]
Rgb = Float32[np.ndarray, "height width 3"]
_FINER = 2
_DARK = [(28, 30, 40), (96, 24, 44), (28, 58, 110)]
_BRIGHT = [(244, 242, 236), (240, 214, 120), (246, 180, 190)]


class Pose(NamedTuple):
    """How a garment lies before the camera: picture = centre + scale * turn(garment)."""

    turn: float
    """Radians."""
    scale: float
    """Points of the fine grid per unit."""
    centre: tuple[float, float]

    def place(self, points: Points) -> list[tuple[float, float]]:
        """Garment coordinates -> points of the fine grid."""
        x, y = points.T
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        across = self.centre[0] + self.scale * (cos * x - sin * y)
        down = self.centre[1] + self.scale * (sin * x + cos * y)
        return list(zip(across.tolist(), down.tolist(), strict=True))

    def cloth(self, side: int) -> tuple[Field, Field]:
        """Garment coordinates of every point of the fine grid."""
        steps = np.arange(side, dtype=np.float32)
        across, down = steps[None, :] - np.float32(self.centre[0]), steps[:, None] - np.float32(self.centre[1])
        cos, sin = np.float32(np.cos(self.turn) / self.scale), np.float32(np.sin(self.turn) / self.scale)
        return cos * across + sin * down, cos * down - sin * across


def photo(product: Product, number: int, size: int, seed: int) -> Image.Image:
    """Picture `number` of a product, `size` pixels per side."""
    draws = keyed.generator(seed, "cloth", product.name)
    shot = keyed.generator(seed, "photo", product.name, number)
    side = size * _FINER
    pose = Pose(
        turn=shot.normal(0.0, 0.06),
        scale=side * shot.uniform(0.5, 0.56),
        centre=(side * shot.uniform(0.47, 0.53), side * shot.uniform(0.47, 0.52)),
    )
    outline = garment(product.values["category"], product.values["cut"])
    mask = _drawn(outline.parts, pose, side)
    fine = _room(side, mask, shot)
    box = _box(mask)
    u, v = (axis[box] for axis in pose.cloth(side))
    cloth, cover = _cloth(product, u, v, (outline.top, outline.hem), draws)
    seams = _lines(outline.seams, pose, side)[box]
    cloth = _lit(cloth * (1.0 - 0.45 * seams)[..., None], u, v, shot)
    shown = (mask[box] * cover)[..., None]
    fine[box] += (cloth - fine[box]) * shown
    coarse = fine.reshape(size, _FINER, size, _FINER * 3)
    coarse = (coarse[:, 0] + coarse[:, 1]).reshape(size, size, _FINER, 3)
    coarse = (coarse[:, :, 0] + coarse[:, :, 1]) / _FINER**2
    coarse += 2.0 * shot.standard_normal(coarse.shape, np.float32)
    return Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))


def _box(mask: Field) -> tuple[slice, slice]:
    """Rows and columns that hold the garment; only there is cloth worth computing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _cloth(
    product: Product, u: Field, v: Field, ends: tuple[float, float], draws: np.random.Generator
) -> tuple[Rgb, Field | float]:
    """Colour of the cloth before light, and where there is cloth."""
    base = np.array(COLOURS[product.values["colour"]], np.float32)
    other = _second(base, product.values["pattern"], draws)
    base = np.clip(base + draws.normal(0.0, 5.0, 3), 8, 247).astype(np.float32)
    amount = pattern(product.values["pattern"], u, v, draws)[..., None]
    look = texture(product.values["fabric"], u, v, draws)
    shade = look.shade
    if product.values["cut"] == "tiered":
        top, hem = ends
        level = (v - top) / (hem - top) * 3.6
        shade = shade * (1.12 - 0.55 * (level - np.floor(level)) ** 3)
    cloth = (base + amount * (other - base)) * shade[..., None]
    # Dark cloth shows its texture too: light falls on it additively.
    cloth = cloth + 22.0 * (shade - 1.0)[..., None] + 255.0 * np.asarray(look.gloss, np.float32)[..., None]
    return cloth, look.cover


def _second(base: np.ndarray, name: str, draws: np.random.Generator) -> np.ndarray:
    """The pattern's other colour: far from the base, or a darker one of it where folds or blotches are shown."""
    if name == "pleated":
        return base * np.float32(0.45) - 12
    bright = float(base.mean()) > 120
    if name in ("camouflage", "leopard print"):
        return base * 0.35 if bright else base * 0.5 + 110
    choices = _DARK if bright else _BRIGHT
    return np.array(choices[int(draws.integers(len(choices)))], np.float32)


def _lit(cloth: Rgb, u: Field, v: Field, shot: np.random.Generator) -> Rgb:
    """Light from one side, soft folds, a slightly warm or cold lamp."""
    angle, strength = shot.uniform(0, 2 * np.pi), shot.uniform(0.0, 0.12)
    slope = u * (strength * math.cos(angle)) + v * (strength * math.sin(angle))
    folds = 0.04 * np.sin(u * shot.uniform(5, 8) + v * shot.uniform(-1.5, 1.5) + shot.uniform(0, 6.28))
    lamp = shot.uniform(0.88, 1.1) * (1.0 + shot.normal(0.0, 0.02, 3)).astype(np.float32)
    return cloth * (1.0 + slope + folds)[..., None] * lamp


def _room(side: int, mask: Field, shot: np.random.Generator) -> Rgb:
    """A wall, sometimes a floor, and the garment's soft shadow."""
    room = np.empty((side, side, 3), np.float32)
    room[:] = shot.uniform(170, 245) + shot.normal(0, 8, 3)
    if shot.random() < 0.3:
        room[int(side * shot.uniform(0.7, 0.92)) :] *= np.float32(shot.uniform(0.8, 0.93))
    down, across = (int(side * shot.uniform(0.01, 0.03)) for _ in range(2))
    room *= (1.0 - 0.18 * np.roll(mask, (down, across), axis=(0, 1)))[..., None]
    return room


def _drawn(parts: list[Points], pose: Pose, side: int) -> Field:
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for part in parts:
        pen.polygon(pose.place(part), fill=1)
    return np.asarray(canvas, np.float32)


def _lines(seams: list[Points], pose: Pose, side: int) -> Field:
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for seam in seams:
        pen.line(pose.place(seam), fill=1, width=max(round(side / 64), 1))
    return np.asarray(canvas, np.float32)
