"""Runs as training leaves them, at a size that takes a moment: a base, an adapter, an export, an index, a report."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from clipadapt import places
from clipadapt.config import Config, Lora
from clipadapt.evaluation.results import Results
from clipadapt.export import export
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors
from clipadapt.statistics.rows import Row
from clipadapt.towers.adapter import save_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters

PROMPTS = 'captions: ["a {baseColour} shirt"]\nother_attributes: {templates: ["a {value} shirt"]}\n'


def write_run(
    folder: Path,
    base: Path,
    seed: int = 0,
    *,
    preset: str = "both",
    low: float = 0.02,
    strength: float = 1.0,
    source: str = "shop",
) -> Run:
    """A whole run: `low` is the lower bound of what its report says was gained."""
    folder.mkdir(parents=True)
    (folder.parent / f"{folder.name}.yaml").write_text(PROMPTS)
    config = Config.model_validate(
        {
            "name": folder.name,
            "output_dir": str(folder),
            "model": {"name": f"local-dir:{base}"},
            "data": {"source": source, "attributes": ["Pattern", "baseColour"]},
            "prompts": str(folder.parent / f"{folder.name}.yaml"),
        }
    )
    run = Run.create(config)
    encoder = load(f"local-dir:{base}")
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, Lora.model_validate({"preset": preset, "dropout": 0.0}), seed=seed)
    draws = torch.Generator().manual_seed(seed)
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.05, generator=draws)
    save_adapter(encoder, run.adapter)
    done = export(
        f"run:{run.path}", "open_clip", run.export / "open_clip", strength={"image": strength, "text": strength}
    )
    write_report(run, (done.image_space, done.text_space), low)
    write_index(run.path / "index", encoder.image_space, encoder.dim)
    return run


def write_report(run: Run, spaces: tuple[str, str | None], low: float) -> None:
    base = load(run.config.model.name)
    systems = {"adapted": spaces, "base": (base.image_space, base.text_space)}
    record = {
        "suite": {"name": "attributes", "about": "", "statistics": {"coverage": 0.95}},
        "systems": {
            name: {"model": name, "image_space": image, "text_space": text} for name, (image, text) in systems.items()
        },
        "catalogue": {"source": "shop", "split": "validation", "items": 60, "products": 30},
        "prompts": {"path": run.config.prompts, "digest": Prompts.load(run.config.prompts).digest},
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"clipadapt": "0.1.0"},
    }
    about = (None, None, "all", "average_precision", None)
    own = Row("headline", *about, "adapted", "validation", 60, 30, 0.6, 0.5, 0.7, "base", 0.1, low, 0.2, 0.01, 0.05)
    other = Row("headline", *about, "base", "validation", 60, 30, 0.5, 0.4, 0.6)
    run.report.mkdir(exist_ok=True)
    (run.report / "results.json").write_text(Results(places.public(record), (own, other)).to_json())
    (run.report / "report.md").write_text("# report\n")


def write_index(folder: Path, space: str, dim: int) -> None:
    points = np.random.default_rng(0).standard_normal((40, dim)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    table = pa.table({"id": [f"i{row}" for row in range(40)]})
    Index.build(Vectors(points, Items.of(table), space, "run:somewhere"), folder, factory="Flat")


def write_gate(folder: Path, above: float = 0.0) -> Path:
    path = folder / "gate.yaml"
    row = {
        "row": "headline",
        "metric": "average_precision",
        "bound": "delta_low",
        "above": above,
        "why": "it must gain",
    }
    path.write_text(json.dumps({"name": "shop", "conditions": [row]}))
    return path
