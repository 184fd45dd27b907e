"""Peak memory of an exact training step at growing global batches and one micro-batch.

    python eval/benchmarks/step_memory.py --model local-dir:MODEL --source CATALOGUE [--batches 256 4096]

Each batch runs in a process of its own, whose peak resident memory is read after its step; what it needed before the
step (weights, optimizer, catalogue) is part of it, as it is of what a user must have. Prepared pixels are left aside:
every micro-batch is given the same ones. The loss, both passes, all captions and the optimizer's step are real.
"ratio" is the peak of the largest batch over that of the smallest.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from machine import peak, publish

from clipadapt.config import Config
from clipadapt.data.batches import TrainBatch
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.training import optim
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates

LOSSES = ("softmax", "multi_positive", "attributes")


def main() -> None:
    """Measures every batch, writes eval/results/step_memory.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 4096])
    parser.add_argument("--micro", type=int, default=64)
    parser.add_argument("--loss", choices=LOSSES, default="softmax")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments, arguments.one)))
        return
    found = {batch: in_a_process(batch) for batch in sorted(arguments.batches)}
    peaks = [one["peak_mb"] for one in found.values()]
    headline = {
        "ratio": round(peaks[-1] / peaks[0], 3), "batches": sorted(found), "micro": arguments.micro, "peak_mb": peaks,
    }  # fmt: skip
    publish("step_memory", headline, {"loss": arguments.loss, "steps": found})


def in_a_process(batch: int) -> dict[str, Any]:
    """The figures of one batch from a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, *sys.argv, "--one", str(batch)], check=True, text=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace, batch: int) -> dict[str, Any]:
    """One step of a global batch in this process."""
    config = Config.model_validate(
        {
            "name": "step_memory",
            "output_dir": "unused",
            "model": {"name": arguments.model, "precision": "bf16"},
            "data": {"source": arguments.source},
            "prompts": arguments.prompts,
            "loss": {"name": arguments.loss},
            "train": {"batch_size": batch, "micro_batch": arguments.micro},
        }
    )
    catalogue = load_splits(config.data, 0).train
    if len(catalogue) < batch:
        raise SystemExit(f"{arguments.source}: {len(catalogue)} training items are fewer than a batch of {batch}")
    encoder, logit_scale, _ = prepare(config, "cpu")
    processes = Processes(Accelerator(cpu=True))
    objective = Objective(config.loss, catalogue, Prompts.load(config.prompts), seed=0)
    step = Step(encoder, objective, logit_scale, processes, config)
    updates = Updates(optim.trainable(encoder.model), config.train, processes)
    size = encoder.preprocess.size
    stored = torch.randint(0, 256, (arguments.micro, size, size, 3), dtype=torch.uint8)
    micros = [
        TrainBatch(
            np.arange(at, at + arguments.micro), np.zeros(arguments.micro, np.int64), stored, encoder.preprocess,
            torch.device("cpu"),
        )
        for at in range(0, batch, arguments.micro)
    ]  # fmt: skip
    before = peak()
    updates.clear()
    outcome = step.both(micros, epoch=0, step=0)
    updates.apply(float(outcome.loss), 1e-4, step=0, items=[])
    return {"peak_mb": peak(), "before_mb": before, "loss": round(float(outcome.loss), 4)}


if __name__ == "__main__":
    main()
