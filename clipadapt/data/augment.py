"""Random changes to training pictures: crop, flip, brightness, contrast, saturation; AutoAugment where it is forced.

Each draw is keyed by (seed, epoch, item, how often the item came before), so order, workers and processes do not
matter. Hue is never touched, nor are pictures made grey: colour is an attribute. One resize per picture, straight from
the crop; colours change in one affine map instead of three passes, clipped once. Pictures are mixed with each other in
training.mixing. Nothing here knows of captions: a
prompt that says left or right needs `flip: false`.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from clipadapt import config, keyed
from clipadapt.data.images import Preprocess

_RATIO = 4.0 / 3.0
"""Crops are at most this much wider or narrower than square. Source: Szegedy et al. 2015, as in torchvision."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""Source: ITU-R BT.601, as in Pillow."""


class Augment:
    """Picture -> training tensor.

        augment = Augment(config.augment, encoder.preprocess, seed)
        augment(picture, epoch=3, item_key=17)        # float32 [3, size, size], normalised
        augment.pixels(picture, 3, 17, repeat=1)      # uint8 [size, size, 3], of the item's second draw this epoch

    With crop [1, 1], no flip and no jitter it is the evaluation preprocessing, bit for bit.
    """

    def __init__(self, options: config.Augment, preprocess: Preprocess, seed: int) -> None:
        self.options = options
        self.preprocess = preprocess
        self.seed = seed
        self._policy = AutoAugment(AutoAugmentPolicy.IMAGENET) if options.autoaugment else None

    def __call__(
        self, picture: Image.Image, epoch: int, item_key: int, repeat: int = 0
    ) -> Float[torch.Tensor, "3 h w"]:
        """The normalised tensor of one draw."""
        return self.preprocess.normalise(torch.from_numpy(self.pixels(picture, epoch, item_key, repeat)))

    def view(self, picture: Image.Image, number: int, item_key: int) -> UInt8[np.ndarray, "size size 3"]:
        """One of an item's fixed views, before normalisation: 0 is the plain one, another is epoch `number`'s draw."""
        return self.pixels(picture, number, item_key) if number else self.preprocess.pixels(picture)

    def pixels(
        self, picture: Image.Image, epoch: int, item_key: int, repeat: int = 0
    ) -> UInt8[np.ndarray, "size size 3"]:
        """The same before normalisation."""
        # Always eight numbers in this order: switching one change off leaves the others as they were.
        area, ratio, across, down, flip, *jitter = keyed.generator(
            self.seed, "augment", epoch, item_key, repeat
        ).random(8).tolist()  # fmt: skip
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        if self.options.crop == (1.0, 1.0):
            rgb = Image.fromarray(self.preprocess.pixels(rgb))
        else:
            side = self.preprocess.size
            rgb = rgb.resize((side, side), self.preprocess.resample, box=self._box(rgb.size, area, ratio, across, down))
        if self.options.flip and flip < 0.5:
            rgb = rgb.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self._policy is not None:
            # torchvision draws from torch's own generator: keyed here, and left as it was found.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(keyed.integer(self.seed, "autoaugment", epoch, item_key, repeat))
                rgb = self._policy(rgb)
        if self.options.jitter > 0.0:
            rgb = _recoloured(rgb, *(1.0 + self.options.jitter * (2.0 * draw - 1.0) for draw in jitter))
        return np.array(rgb)

    def _box(
        self, size: tuple[int, int], area: float, ratio: float, across: float, down: float
    ) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the crop, in pixels of the picture.

        `area` picks the share of the picture kept; a long picture gives less, since a crop stays within _RATIO of
        square. Where the tower squashes pictures, shape is measured against the picture's own.
        """
        low, high = self.options.crop
        kept = low + (high - low) * area
        shape = math.exp((2.0 * ratio - 1.0) * math.log(_RATIO))
        if self.preprocess.resize_mode == "squash":
            width, height = (
                side * math.sqrt(kept * stretch) for side, stretch in zip(size, (shape, 1 / shape), strict=True)
            )
        else:
            pixels = size[0] * size[1] * kept
            width, height = math.sqrt(pixels * shape), math.sqrt(pixels / shape)
        width, height = min(width, size[0]), min(height, size[1])
        if self.preprocess.resize_mode != "squash":
            width, height = min(width, height * _RATIO), min(height, width * _RATIO)
        left, top = across * (size[0] - width), down * (size[1] - height)
        return left, top, min(left + width, size[0]), min(top + height, size[1])


def _recoloured(picture: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    """Brightness, then contrast about the mean grey, then saturation about each pixel's grey, as one affine map."""
    counts = np.array(picture.histogram(), dtype=np.float64).reshape(3, 256)
    mean = counts @ np.arange(256) / counts[0].sum()
    scale = brightness * contrast
    colours = scale * (saturation * np.eye(3) + (1.0 - saturation) * _LUMA)
    offset = brightness * (1.0 - contrast) * float(mean @ _LUMA)
    return picture.convert("RGB", tuple(np.column_stack([colours, np.full(3, offset)]).ravel().tolist()))
