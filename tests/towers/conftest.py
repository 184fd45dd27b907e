"""Fixtures of the towers' tests: small models as folders and as encoders, and a few inputs."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import OPEN_CLIP, SIZE, TRANSFORMERS, write_open_clip, write_timm, write_transformers

from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Layout name -> its folder, written when first asked for."""
    written: dict[str, Path] = {}

    def write(layout: str) -> Path:
        if layout not in written:
            folder = tmp_path_factory.mktemp("models") / layout
            if layout in OPEN_CLIP:
                written[layout] = write_open_clip(folder, OPEN_CLIP[layout])
            elif layout in TRANSFORMERS:
                written[layout] = write_transformers(folder, layout)
            else:
                names = {"timm_vit": "tiny_vit", "timm_beit": "tiny_beit", "timm_eva": "tiny_eva_fused"}
                written[layout] = write_timm(folder, names[layout])
        return written[layout]

    return write


@pytest.fixture(scope="session")
def encoder_of(folder_of: Callable[[str], Path]) -> Callable[[str], TorchEncoder]:
    """Layout name -> an encoder as just loaded; a copy, because a tokenizer takes half a second to build."""
    loaded: dict[str, TorchEncoder] = {}

    def fresh(layout: str) -> TorchEncoder:
        if layout not in loaded:
            encoder = load(str(folder_of(layout)))
            assert isinstance(encoder, TorchEncoder)
            loaded[layout] = encoder
        tokenizer = getattr(loaded[layout].backend, "tokenizer", None)
        return copy.deepcopy(loaded[layout], {id(tokenizer): tokenizer})

    return fresh


@pytest.fixture(scope="session")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40, 36), colour) for colour in ("red", "blue", "olive")]
