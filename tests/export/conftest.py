"""A tiny two-tower model as ONNX, and a source of coloured pictures to calibrate with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.export import export

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "olive": (110, 120, 20), "white": (240, 240, 240)}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("tiny") / "model", OPEN_CLIP["eva_separate"])


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(str(tiny_model), "onnx", tmp_path_factory.mktemp("tiny") / "onnx").path


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty noisy pictures of thirty products in four colours."""
    return _write(tmp_path_factory.mktemp("colours"), 60)


@pytest.fixture(scope="session")
def write_colours() -> Callable[[Path, int], Path]:
    """A folder and a number of pictures -> a source like `colours`."""
    return _write


def _write(root: Path, count: int) -> Path:
    folder, draws = root / "train", np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["file_name,product,baseColour,name"]
    for number in range(count):
        name = list(COLOURS)[number % 4]
        noise = draws.normal(0, 40, (36, 36, 3)) + COLOURS[name]
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,p{number // 2},{name},a {name} shirt {number}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root
