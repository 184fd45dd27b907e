"""Speed of exports on a CPU: EVA02-B-16 in torch, onnxruntime and INT8, a ViT-B-32 picture in INT8, texts.

    python eval/benchmarks/export_speed.py [--rounds 40] [--threads 2] [--quick]

Random weights serve: time does not depend on values. Ratios are of medians, each form taking its turn in one process.
Merged is shown against the base it was adapted from: the same modules and shapes, asserted, and its time over the
base's; unmerged beside it. Wanted: onnxruntime at least 1.8 times as fast as eager torch at batch 1, INT8 at least 1.8
times as fast as that, a ViT-B-32 picture under 20 ms, a text under 5 ms, merged within 3% of the base. About four
minutes on 2 quiet cores, and 4 GB. Where there is a CUDA device, EVA02-B-16 and L-14-336 are timed on it in fp16 too.
--quick runs the same on a small model in less than a minute, to see that it runs, and writes no file.
"""

import argparse
import copy
import json
from typing import Any

import torch
from machine import alternating, publish, summary

from clipadapt.config import Lora
from clipadapt.export.latency import Figure, bench
from clipadapt.export.preparation import merged
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters

QUICK = "ViT-S-32-alt:random"


def main() -> None:
    """Measures, writes eval/results/export_speed.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", default="EVA02-B-16:random")
    parser.add_argument("--small", default="ViT-B-32:random")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="export_speed", help="of the file in eval/results")
    parser.add_argument("--quick", action="store_true", help="small models, few rounds, no file")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.large, arguments.small, arguments.rounds = QUICK, QUICK, 3
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {"merging": merging(arguments.large, arguments.rounds)}
    figures = {name: bench(name, batches=(1,), threads=(arguments.threads,), rounds=arguments.rounds, warmup=3)
               for name in dict.fromkeys((arguments.large, arguments.small))}  # fmt: skip
    if torch.cuda.is_available():
        names = (arguments.large,) if arguments.quick else (arguments.large, "EVA02-L-14-336:random")
        result["gpu_fp16_ms"] = {name: half_ms(name, "cuda", arguments.rounds) for name in names}
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
    headline["met"] = met(headline)
    headline |= {key: result[key] for key in ("gpu_fp16_ms",) if key in result}
    if arguments.quick:
        print(json.dumps(headline))
    else:
        publish(arguments.name, headline, result)


def met(headline: dict[str, Any]) -> dict[str, bool]:
    """Which of the wanted figures were reached."""
    return {
        "ratio": headline["ratio"] >= 1.8,
        "int8_ratio": headline["int8_ratio"] >= 1.8,
        "small_image_int8_ms": headline["small_image_int8_ms"] < 20,
        "text_ms": headline["text_ms"] < 5,
        "merged_over_base": abs(headline["merged_over_base"] - 1) <= 0.03,
    }


def by_form(figures: list[Figure]) -> dict[tuple[str, str], float]:
    """(tower, form) -> median milliseconds at batch 1."""
    return {(one.tower, one.form): one.p50 for one in figures}


def half_ms(model: str, device: str, rounds: int) -> float:
    """Median milliseconds of one picture with weights and products in fp16."""
    encoder = load(model, device=device, precision="fp16")
    assert isinstance(encoder, TorchEncoder), "a torch model"
    encoder.cast_frozen(torch.float16)
    pixels = torch.randn(1, 3, encoder.preprocess.size, encoder.preprocess.size, device=device)
    with torch.no_grad():
        times = alternating(
            {"": lambda: encoder.image_features(pixels)}, rounds=rounds, warmup=5, cuda=device == "cuda"
        )
    return round(1e3 * summary(times[""])["median"], 3)


def merging(model: str, rounds: int) -> dict[str, Any]:
    """Base, merged and unmerged pictures, in turn; the merged graph is asserted to be the base's."""
    base = load(model)
    assert isinstance(base, TorchEncoder), "a torch model"
    shared = {id(base.backend.tokenizer): base.backend.tokenizer}  # type: ignore[attr-defined]
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
