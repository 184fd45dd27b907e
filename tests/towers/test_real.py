"""The stand-in model and real photos: what the small random models show holds at size. Skips without the data."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipadapt.config import Lora
from clipadapt.towers.adapter import save_adapter
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters, check_gradients
from clipadapt.towers.merge import merge
from clipadapt.towers.packed import fuse_attention, split_attention

DATA = os.environ.get("CLIPADAPT_REAL_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="CLIPADAPT_REAL_DATA names no folder")
TEXTS = ["a checked shirt", "a photo of a long blue dress with short sleeves and a round neck", "polo t-shirt"]


def test_the_stand_in_model_split_adapted_saved_merged_and_fused(tmp_path: Path) -> None:
    root = Path(DATA or "")
    name = f"local-dir:{root / 'models' / 'fashion-base'}"
    files = sorted((root / "data" / "clothing10" / "validation").rglob("*.jpg"))[:4]
    encoder: Any = load(name)
    pictures = [Image.open(file).convert("RGB") for file in files]
    pixels = torch.stack([encoder.preprocess(picture) for picture in pictures])
    full = encoder.backend.tokens(TEXTS)

    def features() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([encoder.image_features(pixels), encoder.text_features(encoder.tokenize(TEXTS))])

    base = features()
    with torch.no_grad():
        torch.testing.assert_close(encoder.text_features(full), base[len(pixels) :], atol=1e-5, rtol=0)
    assert len(split_attention(encoder.model).layouts) == 18
    torch.testing.assert_close(features(), base, atol=1e-5, rtol=0)

    report = add_adapters(encoder, Lora(rank=4, plan=(("*.attention.{q,k,v,out}", 4), ("*.mlp.*", 4)), norms=True))
    assert (report.towers["image"].adapters, report.towers["text"].adapters) == (12 * 6, 6 * 6)
    image, text = encoder(pixels, encoder.tokenize(TEXTS))
    (image @ text.T).square().mean().backward()
    check_gradients(encoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    adapted = features()
    assert (adapted - base).abs().max() > 0.1
    save_adapter(encoder, tmp_path / "adapter")
    back: Any = load(f"run:{tmp_path}")
    spaces = back.image_space, back.text_space
    assert spaces == (encoder.image_space, encoder.text_space)
    merge(encoder)
    fuse_attention(encoder.model)
    torch.testing.assert_close(features(), adapted, atol=1e-5, rtol=0)
    assert (encoder.image_space, encoder.text_space) == spaces
    encoder = back
    torch.testing.assert_close(features(), adapted, atol=1e-5, rtol=0)
    merge(encoder, {"image": 0.0, "text": 0.0})
    fuse_attention(encoder.model)
    stock: Any = load(name)
    assert all(torch.equal(encoder.model.state_dict()[key], value) for key, value in stock.model.state_dict().items())
