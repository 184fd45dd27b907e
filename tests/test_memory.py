import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clipadapt.config import Config
from clipadapt.memory import KERNELS, give_back
from clipadapt.training import trainer

ONEDNN, TORCH = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
SMALL = {"name": "small", "data": {"source": "none", "attributes": ["Pattern"]}, "prompts": "prompts/fashion.yaml"}


def test_free_memory_between_blocks_in_use_goes_back_to_the_system():
    def resident() -> int:
        return int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024

    blocks = [bytes([1]) * 60_000 for _ in range(2_000)]
    kept = blocks[::50]
    full = resident()
    blocks.clear()
    give_back()
    assert full - resident() > 60, "of 117 MB"
    assert len(kept) == 40


def test_a_training_keeps_few_kernels_of_shapes_it_meets_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Begun(Exception):
        """Where the first product would come."""

    def begun(*_: object, **__: object) -> None:
        raise Begun

    monkeypatch.setenv(TORCH, "")  # first, so that nothing of it is left after the test
    monkeypatch.delenv(TORCH)
    monkeypatch.setenv(ONEDNN, "7")
    monkeypatch.setattr(trainer, "resolve", begun)
    with pytest.raises(Begun):
        trainer.train(Config.model_validate(SMALL | {"output_dir": str(tmp_path)}))
    assert os.environ[TORCH] == str(KERNELS) and os.environ[ONEDNN] == "7", "what a user set stays"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into glibc's allocator and /proc")
def test_bf16_products_of_ever_new_shapes_do_not_pile_up():
    program = """
import ctypes, sys
import torch
from clipadapt import memory

class Found(ctypes.Structure):
    _fields_ = [(str(number), ctypes.c_size_t) for number in range(10)]

def used():
    look = ctypes.CDLL(None).mallinfo2
    look.restype = Found
    found = look()
    return (getattr(found, "4") + getattr(found, "7")) / 2**20  # mapped, and of blocks in use

if sys.argv[1] == "bounded":
    memory.KERNELS = 16
    memory.bound_kernels()
layers = [torch.nn.Linear(64, 256), torch.nn.Linear(256, 64)]
for rows in range(1000, 1100):
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        vectors = torch.zeros(rows, 64)
        for layer in layers:
            vectors = layer(vectors)
    if rows == 1010:
        before = used()
print(used() - before)
"""
    # A training that a test before this one ran has bounded this very process.
    environment = {name: value for name, value in os.environ.items() if name not in (ONEDNN, TORCH)}
    grown = {
        kind: float(
            subprocess.run(
                [sys.executable, "-c", program, kind], capture_output=True, check=True, env=environment
            ).stdout
        )
        for kind in ("bounded", "free")
    }
    assert grown["bounded"] < grown["free"] / 3, grown
