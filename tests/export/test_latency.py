"""Every form is timed in turn, on one input, and set against the budget."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipadapt import config
from clipadapt.cli import main
from clipadapt.errors import UsageError
from clipadapt.export.latency import _figure, alternating, bench
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters


def test_percentiles_throughput_and_budget_by_hand() -> None:
    seconds = [number / 1e3 for number in range(1, 102)]  # 1 to 101 ms
    found = _figure("image", "torch", 8, 2, seconds, 51.0)
    assert (found.p50, found.p95, found.p99) == pytest.approx((51.0, 96.0, 100.0))
    assert found.throughput == pytest.approx(8 / 0.051)
    assert found.met
    assert not _figure("image", "torch", 8, 2, seconds, 50.9).met


def test_contestants_take_turns_and_warm_up_untimed() -> None:
    calls: list[str] = []
    times = alternating({"torch": lambda: calls.append("a"), "onnxruntime": lambda: calls.append("b")}, 3, 2)
    assert calls == ["a", "b"] * 5
    assert {form: len(own) for form, own in times.items()} == {"torch": 3, "onnxruntime": 3}


def test_an_adapted_model_is_timed_in_four_forms_and_stays_as_it_is(tiny_model: Path) -> None:
    encoder = load(str(tiny_model))
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, config.Lora(dropout=0.0), seed=0)
    before, threads = encoder.image_space, torch.get_num_threads()
    found = bench(encoder, batches=(1, 3), threads=(1,), rounds=2, warmup=1)
    forms = ["torch unmerged", "torch", "onnxruntime", "onnxruntime int8"]
    assert [(one.tower, one.batch, one.form) for one in found] == [
        (tower, batch, form) for tower in ("image", "text") for batch in (1, 3) for form in forms
    ]
    assert all(0 < one.p50 <= one.p95 <= one.p99 and np.isfinite(one.throughput) for one in found)
    assert encoder.adapters is not None
    assert (encoder.image_space, torch.get_num_threads()) == (before, threads)


def test_a_folder_is_timed_as_it_is(tiny_onnx: Path) -> None:
    found = bench(f"onnx:{tiny_onnx}", batches=(2,), rounds=1, warmup=0)
    assert [(one.tower, one.form) for one in found] == [("image", "onnxruntime"), ("text", "onnxruntime")]


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"batches": ()}, {"batches": (0,)}, {"threads": (0,)}])
def test_nothing_to_time_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="have to be 1 or more"):
        bench("local-dir:nowhere", **wrong)  # type: ignore[arg-type]


def test_the_command_prints_a_table_and_json(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", f"onnx:{tiny_onnx}", "--rounds", "2", "--batch", "1", "--budget-ms", "1e6"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [one["tower"] for one in found] == ["image", "text"]
    assert all(one["met"] for one in found)
    assert "met" in shown.err


def test_int8_without_a_source_is_a_usage_error(tiny_model: Path, tmp_path: Path) -> None:
    arguments = ["export", str(tiny_model), "--to", "onnx", "--out", str(tmp_path / "out"), "--int8"]
    assert main(arguments) == 2
    assert not (tmp_path / "out").exists()
