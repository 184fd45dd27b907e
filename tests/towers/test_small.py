"""The project's own small EVA-CLIP."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from clipadapt.config import Lora
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters
from clipadapt.towers.packed import split_attention
from clipadapt.towers.small import IMAGE_SIZE, create_small


def test_it_is_an_eva02_and_loads_everywhere(tmp_path: Path) -> None:
    folder = create_small(tmp_path / "small", seed=3)
    encoder: Any = load(str(folder))
    assert (encoder.dim, encoder.preprocess.size, encoder.context_length) == (128, IMAGE_SIZE, 77)
    image = sum(parameter.numel() for parameter in encoder.model.visual.parameters())
    assert 1_000_000 < image < 1_500_000
    assert split_attention(encoder.model.visual).layouts == {}, "q, k and v are separate"
    names = encoder.logical_names()
    assert {"image.blocks.5.mlp.fc1_g", "image.blocks.5.norm.inner", "image.blocks.5.norm.mlp"} <= set(names)
    assert encoder.model.visual.trunk.blocks[0].attn.k_proj.bias is None
    assert encoder.encode_images(torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)).shape == (2, 128)
    report = add_adapters(encoder, Lora())
    assert (report.towers["image"].adapters, report.towers["text"].adapters) == (24, 16)


def test_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.rand(5)
        weights.append(load_file(create_small(tmp_path / name, seed) / "open_clip_model.safetensors"))
    one, same, other = weights
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["visual.trunk.patch_embed.proj.weight"], other["visual.trunk.patch_embed.proj.weight"])
    config = json.loads((tmp_path / "a" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["vision_cfg"]["timm_model_name"] == "clipadapt_eva_small"


def test_stock_open_clip_loads_it_after_importing_clipadapt(tmp_path: Path) -> None:
    """In a process of its own, and with clipadapt imported first: nothing but its import may be needed."""
    folder = create_small(tmp_path / "small")
    script = (
        "import clipadapt, open_clip, warnings; warnings.simplefilter('ignore')\n"
        f"model, _, _ = open_clip.create_model_and_transforms('local-dir:{folder}')\n"
        "print(type(model.visual.trunk).__name__, len(model.visual.trunk.blocks))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["Eva", "6"], done.stderr
