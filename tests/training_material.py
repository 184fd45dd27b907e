"""A tiny catalogue, a tiny two-tower model and a prompts file, and configs over them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_factory import write_catalogue
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.config import Config

PROMPTS = """
captions:
  - "a {Pattern} {baseColour} shirt"
  - "{baseColour} shirt[ with {Sleeve Length}]"
  - "[{Pattern} ]shirt in {baseColour}"
attributes:
  Pattern: {templates: ["a {value} shirt", "a shirt, {value}"]}
  baseColour: {templates: ["a {value} shirt", "a shirt in {value}"]}
  Sleeve Length: {templates: ["a shirt with {value}"]}
"""


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shop/, model/ and prompts.yaml."""
    root = tmp_path_factory.mktemp("material")
    write_catalogue(root / "shop", items=48)
    write_open_clip(root / "model", OPEN_CLIP["eva_separate"])
    (root / "prompts.yaml").write_text(PROMPTS)
    return root


@pytest.fixture
def configured(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Sections as keywords -> a config over the material: 8 pictures a step in float32, no augmentation."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")

    def make(**sections: Any) -> Config:
        raw: dict[str, Any] = {
            "name": "tiny",
            "output_dir": str(tmp_path / "run"),
            "model": {"name": f"local-dir:{material / 'model'}", "precision": "fp32"},
            "data": {
                "source": str(material / "shop"),
                "attributes": ["Pattern", "baseColour", "Sleeve Length"],
                "unknown": ["", "NA"],
                "splits": {"tune": 0.25},
            },
            "prompts": str(material / "prompts.yaml"),
            "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
            "train": {"epochs": 2, "batch_size": 8, "micro_batch": 8, "lr": 0.01, "trackers": []},
            "augment": {"crop": [0.8, 1.0], "flip": True, "jitter": 0.1},
            "eval": {"suite": None, "select_on": "balanced_accuracy"},
            "export": [],
        }
        for name, section in sections.items():
            raw[name] = (
                raw[name] | section if isinstance(section, dict) and isinstance(raw.get(name), dict) else section
            )
        return Config.model_validate(raw)

    return make
