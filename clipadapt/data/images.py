"""An upright RGB picture -> the tensor a tower expects.

`Preprocess` repeats, operation for operation, what open_clip and transformers' Pillow processors do at evaluation, so
that an adapted model sees exactly what its base saw. The trade: pictures are resized by Pillow on the CPU, which is
slower than torchvision on tensors and equal to the originals bit for bit. Nothing here decodes files (decode.py does,
without torch) or knows of catalogues.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from clipadapt.data.decode import PREPARED, rgb_of
from clipadapt.errors import CatalogueError, ModelError

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

_WIDEST = 64
"""A picture longer than this many times its short side is cropped before it is resized, to bound memory."""


@dataclass(frozen=True)
class Preprocess:
    """A picture -> float32 tensor [3, size, size], as a tower's own evaluation pipeline makes it.

        Preprocess(224)                                  CLIP: shortest side to 224, centre crop, OpenAI's mean and std
        Preprocess.from_open_clip(model.visual.preprocess_cfg)
        Preprocess.from_processor(CLIPProcessor...)      transformers' CLIP or SigLIP processor
        preprocess.pixels(picture)                       uint8 [size, size, 3], the same without the normalisation
        preprocess.normalise(uint8 batch)                the rest, on a batch and its device

    Equal bit for bit to open_clip.image_transform (3.3.0) at evaluation and, up to the order of two multiplications
    (1e-6), to transformers' Pillow processors; its torchvision processors resize slightly differently (a few levels
    of 255 at edges). A picture already at its size is not resized. Square sizes only.
    """

    size: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "squash", "longest"] = "shortest"
    """shortest: short side to `edge`, centre crop; squash: both sides; longest: long side, padded with `fill`."""
    edge: int | None = None
    """Side length before the crop; null: `size`. Larger for models evaluated on the middle of the picture."""
    fill: int = 0
    """Grey level of the padding, 0 to 255."""
    rounding: Literal["round", "floor"] = "round"
    """How an odd margin is halved: torchvision rounds half to even, transformers floors."""

    @classmethod
    def from_open_clip(cls, config: Mapping[str, Any], size: int | None = None) -> Self:
        """From open_clip's preprocess_cfg (its dict, or `model.visual.preprocess_cfg`); `size` replaces its own.

        Raises:
            ModelError: a rectangular size, or a mode that is not RGB.
        """
        native = config.get("size", 224)
        sides = {int(side) for side in native} if isinstance(native, Sequence) else {int(native)}
        if size is None and len(sides) > 1:
            raise ModelError(f"this model wants {native} pixels; only square pictures are supported")
        if config.get("mode", "RGB") != "RGB":
            raise ModelError(f"this model wants {config['mode']} pictures; only RGB is supported")
        return cls(
            size=size or sides.pop(),
            mean=_three(config.get("mean") or OPENAI_MEAN),
            std=_three(config.get("std") or OPENAI_STD),
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            resize_mode=config.get("resize_mode") or "shortest",
            fill=int(config.get("fill_color") or 0),
        )

    @classmethod
    def from_processor(cls, processor: Any, size: int | None = None) -> Self:
        """From a transformers processor, or its image processor alone; `size` replaces its own.

        Raises:
            ModelError: a processor that does something this class does not: another rescaling, no resizing, rectangles.
        """
        inner = getattr(processor, "image_processor", processor)
        resized, cropped = (
            dict(inner.size),
            dict(getattr(inner, "crop_size", None) or {}),
        )
        crops = bool(getattr(inner, "do_center_crop", False))
        faults = [name for name in ("do_resize", "do_rescale", "do_normalize") if not getattr(inner, name, True)]
        if not math.isclose(getattr(inner, "rescale_factor", 1 / 255), 1 / 255):
            faults.append(f"rescale_factor {inner.rescale_factor}")
        if inner.resample not in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
            faults.append(f"resample {inner.resample}")
        edge = resized.get("shortest_edge")
        sides = {side for side in (resized.get("height"), resized.get("width")) if side}
        target = {side for side in (cropped.get("height"), cropped.get("width")) if side} if crops else set(sides)
        if len(target) != 1 or (edge is None and len(sides) != 1):
            faults.append(f"size {resized}, crop {cropped if crops else None}")
        if faults:
            raise ModelError(f"{type(inner).__name__} preprocesses in a way not supported here: {', '.join(faults)}")
        native = target.pop()
        before = edge if edge is not None else sides.pop()
        return cls(
            size=size or native,
            mean=_three(inner.image_mean),
            std=_three(inner.image_std),
            interpolation="bicubic" if inner.resample == Image.Resampling.BICUBIC else "bilinear",
            resize_mode="squash" if edge is None else "shortest",
            edge=None if before == native else round(before * (size or native) / native),
            rounding="floor",
        )

    def __call__(self, picture: Image.Image) -> Float[torch.Tensor, "3 size size"]:
        """The tensor a tower takes."""
        return self.normalise(torch.from_numpy(self.pixels(picture)))

    def pixels(self, picture: Image.Image) -> UInt8[np.ndarray, "size size 3"]:
        """The picture resized and cropped, before normalisation; what a prepared cache holds.

        Raises:
            CatalogueError: the picture comes from a cache that was prepared for another model.
        """
        if picture.info.get(PREPARED, self._policy) != self._policy:
            raise CatalogueError(
                f"a picture prepared by the policy {picture.info[PREPARED]} for a model that wants {self._policy}; "
                "prepare the source for this model, or unset data.prepared"
            )
        rgb = rgb_of(picture)
        if rgb.size != (self.size, self.size) or self._edge != self.size:
            rgb = self._fit(rgb)
        return np.array(rgb)

    def normalise(self, pixels: UInt8[torch.Tensor, "*batch size size 3"]) -> Float[torch.Tensor, "*batch 3 size size"]:
        """(pixels / 255 - mean) / std with channels first, contiguous, on the device of `pixels`."""
        scaled = pixels.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return scaled.sub_(mean).div_(std)

    def geometry(self) -> dict[str, Any]:
        """What decides the uint8 pixels: everything but the normalisation; the policy of a prepared cache."""
        return dict(self._policy)

    @functools.cached_property
    def _policy(self) -> dict[str, Any]:
        policy = asdict(self)
        del policy["mean"], policy["std"]
        return policy | {"edge": self._edge}

    @property
    def resample(self) -> Image.Resampling:
        return Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR

    @property
    def _edge(self) -> int:
        return self.size if self.edge is None else self.edge

    def _fit(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        if self.resize_mode == "squash":
            return self._centre(picture.resize((self._edge, self._edge), self.resample))
        if self.resize_mode == "longest":
            ratio = max(width, height) / self._edge
            target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
            return self._centre(picture.resize(target, self.resample))
        short, long = sorted((width, height))
        if long > _WIDEST * short:
            margin = (long - _WIDEST * short) // 2
            box = (margin, 0, long - margin, short) if width > height else (0, margin, short, long - margin)
            picture = picture.crop(box)
            long = max(picture.size)
        longer = int(self._edge * long / short)
        target = (self._edge, longer) if width <= height else (longer, self._edge)
        return self._centre(picture.resize(target, self.resample))

    def _centre(self, picture: Image.Image) -> Image.Image:
        """The middle `size` x `size`, padded where the picture is smaller."""
        width, height = picture.size
        if (width, height) == (self.size, self.size):
            return picture
        if width < self.size or height < self.size:
            padded = Image.new("RGB", (max(width, self.size), max(height, self.size)), (self.fill,) * 3)
            padded.paste(
                picture,
                (max(0, (self.size - width) // 2), max(0, (self.size - height) // 2)),
            )
            picture = padded
        left, top = (self._half(side - self.size) for side in picture.size)
        return picture.crop((left, top, left + self.size, top + self.size))

    def _half(self, margin: int) -> int:
        return margin // 2 if self.rounding == "floor" else round(margin / 2.0)


def _three(values: Sequence[float] | float) -> tuple[float, float, float]:
    if isinstance(values, Sequence):
        first, second, third = (float(value) for value in values)
        return first, second, third
    return float(values), float(values), float(values)
