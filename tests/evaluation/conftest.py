"""A shop of coloured squares, and encoders that see colour and stripes: small enough to know every answer."""

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.images import Preprocess
from clipadapt.prompts import Prompts

_spec = importlib.util.spec_from_file_location("data_factory", Path(__file__).parents[1] / "data_factory.py")
assert _spec is not None
assert _spec.loader is not None
factory = sys.modules.setdefault("data_factory", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(factory)

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


@pytest.fixture
def words() -> Prompts:
    return Prompts.parse(PROMPTS)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 items of 90 products, two pictures each; a third of them validation."""
    return factory.write_catalogue(tmp_path_factory.mktemp("shop"), items=180)


@pytest.fixture(scope="session")
def validation(shop: Path) -> Catalogue:
    return Catalogue.load(shop, "validation", attributes=ATTRIBUTES)


@pytest.fixture(scope="session")
def train(shop: Path) -> Catalogue:
    return Catalogue.load(shop, "train", attributes=ATTRIBUTES)


@pytest.fixture
def good() -> SquareEncoder:
    return SquareEncoder("good")


@pytest.fixture
def poor() -> SquareEncoder:
    return SquareEncoder("poor", blind=("striped", "red"))


@pytest.fixture
def row():
    """Builds a row; whatever is not named has a harmless value."""
    from clipadapt.evaluation.rows import Row

    def build(**fields) -> Row:
        known = {
            "task": "recognition",
            "attribute": "Pattern",
            "value": None,
            "bin": "all",
            "metric": "balanced_accuracy",
            "k": None,
            "system": "adapted",
            "split": "validation",
            "n": 40,
            "products": 30,
            "mean": 0.5,
            "low": 0.4,
            "high": 0.6,
        }
        return Row(**(known | fields))

    return build


@pytest.fixture
def compared(row):
    """A comparison and its counterpart: compared(delta, low, high, p) with any other field."""

    def build(delta: float, low: float, high: float, p: float, **fields) -> list:
        pair = {"against": "base", "delta": delta, "delta_low": low, "delta_high": high, "p": p}
        own = row(**({"mean": 0.5, "minimum_detectable": 0.1} | pair | fields))
        base = {
            key: value for key, value in fields.items() if key in ("task", "attribute", "value", "bin", "metric", "k")
        }
        return [own, row(system="base", mean=0.5 - delta, **base)]

    return build


@pytest.fixture
def record():
    """The least that results.json's config holds."""
    return {
        "suite": {"name": "attributes", "about": "", "statistics": {"coverage": 0.95}},
        "systems": {"base": {"model": "local-dir:base"}, "adapted": {"model": "run:fine"}},
        "catalogue": {"source": "shop", "split": "validation", "items": 60, "products": 30},
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"clipadapt": "0.1.0"},
    }
