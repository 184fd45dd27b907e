"""A shop of coloured squares, and encoders that see colour and stripes: small enough to know every answer."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from clipadapt.data.images import Preprocess

ATTRIBUTES = ["Pattern", "baseColour"]
WORDS = {
    "red": (1, -1, -1, 0, 0),
    "green": (-1, 1, -0.3, 0, 0),
    "blue": (-1, -1, 1, 0, 0),
    "black": (-1, -1, -1, 0, 0),
    "solid": (0, 0, 0, -0.6, -0.6),
    "striped": (0, 0, 0, 1.2, 0),
    "checked": (0, 0, 0, 0, 1.2),
}


class SquareEncoder:
    """Mean colour, and how much rows and the checkerboard vary; texts are the sum of their words' directions.

    `blind` words mean nothing to it, which makes it a worse model.
    """

    def __init__(self, name: str = "squares", blind: Sequence[str] = (), picture_noise: float = 0.0) -> None:
        self.name, self.dim, self.context_length = name, 6, 16
        self.preprocess = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash")
        self.blind = tuple(blind)
        self.noise = picture_noise
        self.scale = 10.0
        self.encoded = 0

    @property
    def image_space(self) -> str:
        return f"image-squares-{self.noise}"

    @property
    def text_space(self) -> str | None:
        return f"text-squares-{hashlib.sha256(repr(self.blind).encode()).hexdigest()[:8]}"

    def encode_images(self, pictures: torch.Tensor) -> torch.Tensor:
        self.encoded += len(pictures)
        mean = pictures.mean(dim=(2, 3)) * 2
        bars = (torch.arange(32) // 4) % 2 * 2.0 - 1
        rows = (pictures.mean(dim=(1, 3)) * bars).mean(dim=1).abs() * 3
        board = (pictures.mean(dim=1) * bars[:, None] * bars[None, :]).mean(dim=(1, 2)).abs() * 3
        found = torch.cat([mean, rows[:, None] - 0.5, board[:, None] - 0.5, torch.full((len(pictures), 1), 0.1)], dim=1)
        found = found + self.noise * torch.sin(1000 * found)
        return torch.nn.functional.normalize(found, dim=1)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        vectors = []
        for text in texts:
            known = [WORDS[word] for word in text.lower().split() if word in WORDS and word not in self.blind]
            vectors.append([*np.sum([*known, (0.0,) * 5], axis=0), 0.05 + 0.001 * len(text)])
        return torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float32), dim=1)


PROMPTS = """
captions: ["a {baseColour} shirt"]
attributes:
  Pattern: {templates: ["a {value} shirt", "{value}"]}
  baseColour: {templates: ["a {value} shirt"]}
other_attributes: {templates: ["{value}"]}
"""
