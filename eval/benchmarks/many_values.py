"""Time and memory of training and evaluation as one attribute has more and more values.

    python eval/benchmarks/many_values.py --model local-dir:MODEL [--values 500 5000] [--items 6000] [--size 32]

A catalogue of one plain picture and --items rows is written for each number of values, and each is trained in a process
of its own: the text warm-up with its probe (3 steps instead of hundreds), one measurement on tune, 3 steps, then
recognition of all values on validation. Seconds are those of each stage. "growth" is, for the stage that grew most, its
time at the most values over that at the fewest, divided by how many times as many values there are: 1 is in proportion.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import peak, publish
from PIL import Image

from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.suite import Suite
from clipadapt.prompts import Prompts
from clipadapt.towers.load import load
from clipadapt.training import text_warmup
from clipadapt.training.callbacks import Callback, State
from clipadapt.training.trainer import train

STEPS = 3
PROMPTS = """
captions: ["a shirt of {brand}", "{brand}"]
other_attributes: {templates: ["a {value} shirt", "a shirt by {value}"]}
"""


def main() -> None:
    """Measures every number of values, writes eval/results/many_values.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--values", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--size", type=int, default=32, help="pixels per side of the picture")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(arguments, arguments.one, Path(folder))))
        return
    counts = sorted(arguments.values)
    found = {count: in_a_process(count) for count in counts}
    few, many = found[counts[0]], found[counts[-1]]
    times = counts[-1] / counts[0]
    growth = {stage: round(many["seconds"][stage] / few["seconds"][stage] / times, 3) for stage in few["seconds"]}
    headline = {
        "values": counts,
        "growth": max(growth.values()),
        "peak_mb": [found[count]["peak_mb"] for count in counts],
    }
    publish("many_values", headline, {"items": arguments.items, "growth": growth, "values": found})


def in_a_process(count: int) -> dict[str, Any]:
    """The figures of one number of values from a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, *sys.argv, "--one", str(count)], check=True, text=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])


class Stages(Callback):
    """Seconds of a training's stages; ends it after a few steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def stage(self, name: str) -> None:
        """What has passed since the last stage was this one."""
        now = time.perf_counter()
        self.seconds[name] = round(now - self.last, 2)
        self.last = now

    def on_start(self, state: State) -> None:
        """Splits, prompts, model, anchors."""
        self.stage("prepare")

    def on_step(self, state: State, figures: Mapping[str, float]) -> None:
        """The last of the steps ends the training."""
        if state.step == 1:
            self.stage("measure tune and the first step")
        if state.step == STEPS:
            self.stage("steps")
            raise SystemExit


def measure(arguments: argparse.Namespace, count: int, folder: Path) -> dict[str, Any]:
    """Trains and evaluates in this process."""
    config = write(folder, arguments, count)
    stages = Stages()
    warm_up = text_warmup.warm_up

    def timed(*given: Any, **keywords: Any) -> dict[str, float]:
        stages.stage("measure tune and encode")
        figures = warm_up(*given, **keywords)
        stages.stage("text warm-up")
        return figures

    text_warmup.warm_up = timed
    with contextlib.suppress(SystemExit):
        train(config, callbacks=[stages])
    trained = peak()
    validation = load_splits(config.data, config.seed).validation
    suite = Suite.model_validate({"name": "values", "min_items": 1, "tasks": [{"task": "recognition"}]})
    stages.last = time.perf_counter()
    evaluate(load(config.model.name), validation, Prompts.load(config.prompts), suite, progress=False)
    stages.stage("evaluation")
    return {"seconds": stages.seconds, "trained_mb": trained, "peak_mb": peak()}


def write(folder: Path, arguments: argparse.Namespace, count: int) -> Config:
    """The catalogue, the prompts and the config over them."""
    picture = io.BytesIO()
    Image.new("RGB", (arguments.size, arguments.size), (200, 30, 30)).save(picture, "PNG")
    draws = np.random.default_rng(0)
    for split, items, first in (("train", arguments.items, 0), ("validation", arguments.items // 10, arguments.items)):
        numbers = range(first, first + items)
        rows = {
            "image": [{"bytes": picture.getvalue(), "path": f"{number}.png"} for number in numbers],
            "id": [str(number) for number in numbers],
            "product": [f"p{number}" for number in numbers],
            "brand": [f"brand number {value}" for value in draws.integers(count, size=items)],
        }
        pq.write_table(pa.table(rows), folder / f"{split}-0.parquet")
    (folder / "prompts.yaml").write_text(PROMPTS, encoding="utf-8")
    return Config.model_validate(
        {
            "name": "many_values",
            "output_dir": str(folder / "run"),
            "model": {"name": arguments.model, "precision": "fp32"},
            "data": {"source": str(folder), "attributes": ["brand"]},
            "prompts": str(folder / "prompts.yaml"),
            "loss": {"name": "attributes", "value_vectors": 10, "anchor": 10, "caption_weight": 0.1},
            "train": {"epochs": 1, "batch_size": 64, "micro_batch": 64, "text_warmup": STEPS, "trackers": []},
            "eval": {"suite": None, "select_on": "balanced_accuracy"},
            "export": [],
        }
    )


if __name__ == "__main__":
    main()
