"""Speed of exports on a CPU: EVA02-B-16 in torch, onnxruntime and INT8, a ViT-B-32 picture in INT8, texts.

    python eval/benchmarks/export_speed.py [--rounds 40] [--threads 2]

Random weights serve: time does not depend on values. Ratios are of medians, each form taking its turn in one process.
Merged is shown against the base it was adapted from: the same modules and shapes, asserted, and its time over the
base's; unmerged beside it. Wanted: onnxruntime at least 1.8 times as fast as eager torch at batch 1, INT8 at least 1.8
times as fast as that, a ViT-B-32 picture under 20 ms, a text under 5 ms. About four minutes on 2 quiet cores, and 4 GB.
"""

import argparse
import copy
from typing import Any

import torch
from machine import alternating, publish, summary

from clipadapt.config import Lora
from clipadapt.export.groundwork import merged
from clipadapt.export.latency import Figure, bench
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters


def main() -> None:
    """Measures, writes eval/results/export_speed.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", default="EVA02-B-16:random")
    parser.add_argument("--small", default="ViT-B-32:random")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="export_speed", help="of the file in eval/results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {"merging": merging(arguments.large, arguments.rounds)}
    figures = {name: bench(name, batches=(1,), threads=(arguments.threads,), rounds=arguments.rounds, warmup=3)
               for name in (arguments.large, arguments.small)}  # fmt: skip
    result["figures"] = {name: [one._asdict() for one in own] for name, own in figures.items()}
    large, small = (by_form(figures[name]) for name in (arguments.large, arguments.small))
    headline = {
        "ratio": round(large["image", "torch"] / large["image", "onnxruntime"], 3),
        "int8_ratio": round(large["image", "onnxruntime"] / large["image", "onnxruntime int8"], 3),
        "small_image_int8_ms": round(small["image", "onnxruntime int8"], 2),
        "text_ms": round(min(large["text", form] for form in ("onnxruntime", "onnxruntime int8")), 2),
        "text_int8_ms": round(large["text", "onnxruntime int8"], 2),
        "merged_over_base": round(result["merging"]["merged_over_base"], 3),
        "unmerged_over_base": round(result["merging"]["unmerged_over_base"], 3),
    }
    publish(arguments.name, headline, result)


def by_form(figures: list[Figure]) -> dict[tuple[str, str], float]:
    """(tower, form) -> median milliseconds at batch 1."""
    return {(one.tower, one.form): one.p50 for one in figures}


def merging(model: str, rounds: int) -> dict[str, Any]:
    """Base, merged and unmerged pictures, in turn; the merged graph is asserted to be the base's."""
    base = load(model)
    assert isinstance(base, TorchEncoder), "a torch model"
    shared = {id(base.stock.tokenizer): base.stock.tokenizer}  # type: ignore[attr-defined]
    adapted = copy.deepcopy(base, shared)
    add_adapters(adapted, Lora(dropout=0.0), seed=0)
    folded = copy.deepcopy(adapted, shared)
    merged(folded, None)
    assert _shape(folded) == _shape(base), "merging leaves the base's modules and shapes"
    pixels = torch.randn(1, 3, base.preprocess.size, base.preprocess.size)
    encoders = {"base": base, "merged": folded, "unmerged": adapted}
    with torch.no_grad():
        times = alternating({name: lambda one=one: one.image_features(pixels) for name, one in encoders.items()},
                            rounds=rounds)  # fmt: skip
    told = {name: summary(seconds) for name, seconds in times.items()}
    ratios = {f"{name}_over_base": told[name]["median"] / told["base"]["median"] for name in ("merged", "unmerged")}
    return {**ratios, "seconds": told}


def _shape(encoder: TorchEncoder) -> list[tuple[str, str, tuple[tuple[str, tuple[int, ...]], ...]]]:
    """Every module's path and class, and the shapes of its parameters."""
    return [
        (
            path,
            type(module).__name__,
            tuple((name, tuple(one.shape)) for name, one in module.named_parameters(recurse=False)),
        )
        for path, module in encoder.model.named_modules()
    ]


if __name__ == "__main__":
    main()
