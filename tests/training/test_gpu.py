"""What only a GPU can show: training on it in each precision, and vectors beside those of the processor."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from clipadapt.config import Config
from clipadapt.processes.exchange import only_processors
from clipadapt.runs import Run
from clipadapt.towers.load import load
from clipadapt.training.trainer import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
Make = Callable[..., Config]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Matrix products in whole float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def state(run: Run) -> dict[str, torch.Tensor]:
    """The adapter that a run left behind."""
    return load_file(run.adapter / "adapter_model.safetensors")


def test_vectors_are_those_of_the_processor(material: Path) -> None:
    model = f"local-dir:{material / 'model'}"
    here, there = load(model, device="cpu"), load(model, device="cuda")
    pixels = torch.randn(4, 3, here.preprocess.size, here.preprocess.size, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(there.encode_images(pixels).cpu(), here.encode_images(pixels), atol=1e-4)
    texts = ["a red shirt", "skirt"]
    np.testing.assert_allclose(there.encode_texts(texts).cpu(), here.encode_texts(texts), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_moves_the_adapter_and_ends(configured: Make, precision: str) -> None:
    assert not only_processors(), "a variable keeps this process from the GPU"
    run = train(configured(model={"precision": precision}))
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert losses and np.isfinite(losses).all()
    trained = state(run)
    assert all(tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) for tensor in trained.values())
    assert any(float(tensor.abs().max()) > 0 for name, tensor in trained.items() if "lora_B" in name)


def test_a_run_on_the_gpu_is_that_of_the_processor(
    configured: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, whose draws belong to the device."""
    plain = {"lora": {"rank": 2, "alpha": 4, "dropout": 0.0}, "train": {"epochs": 1}}
    there = state(train(configured(output_dir=str(tmp_path / "gpu"), **plain)))
    AcceleratorState._reset_state(reset_partial_state=True)  # or the device of before would stay
    monkeypatch.setattr("clipadapt.training.launch.only_processors", lambda: True)
    here = state(train(configured(output_dir=str(tmp_path / "cpu"), **plain)))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        np.testing.assert_allclose(there[name], tensor, atol=2e-3, err_msg=name)
