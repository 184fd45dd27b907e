"""An epoch from kept tokens, from pictures, and in the loop that one would write with stock open_clip + peft.

    python eval/benchmarks/cached_blocks.py --model local-dir:MODEL --source CATALOGUE      # "ratio" on the last line
    python eval/benchmarks/cached_blocks.py ... --rounding       # also what the kept type does to the adapter

All three: the same weights and photos, one batch size, bf16 autocast, LoRA without dropout on attention and MLP of the
image tower's last blocks and on the text tower, CLIP's softmax loss, gradients clipped at 1.0, AdamW. The stock side
adapts what stock peft reaches: in the same image blocks the Linears that are called (a fused qkv is not), in the text
tower the MLP, for nn.MultiheadAttention bypasses adapters. Epochs alternate in one process and include what they read:
tokens, or pictures that are decoded and augmented. `ratio` is without tokens over with them, `ratio_stock` the stock
loop over with them; `filling` is what computing the tokens took, once. Peak memory is that of a process that trains
an epoch in one way and does nothing else.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from accelerate import Accelerator
from machine import alternating, peak, publish, summary
from peft import LoraConfig, get_peft_model

import clipadapt  # noqa: F401  # registers the small EVA with timm
from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.training import optim
from clipadapt.training.lower_blocks import train_from_tokens
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.step import Step
from clipadapt.training.updates import Updates

RATE, DECAY, VIEWS = 1e-3, 0.01, 2
SIDES = ("tokens", "pictures", "stock")


class Ours:
    """An epoch as training takes it, from tokens or from pictures."""

    def __init__(self, config: Config, catalogue: Catalogue, folder: Path) -> None:
        objective = Objective(config.loss, catalogue, Prompts.load(config.prompts), seed=config.seed)
        self.encoder, logit_scale, _ = prepare(config, "cpu", objective)
        processes = Processes(Accelerator(cpu=True))
        self.step = Step(self.encoder, objective, logit_scale, processes, config)
        self.parameters = optim.trainable(self.encoder.model)
        self.updates = Updates(self.parameters, config.train, processes)
        augment = Augment(config.augment, self.encoder.preprocess, config.seed)
        self.batches = Batches(catalogue, config.train, augment, config.seed)
        started = time.perf_counter()
        self.cached = train_from_tokens(config, folder, self.encoder, self.batches, self.step, processes, print)
        self.filling = time.perf_counter() - started
        self.taken = 0

    def epoch(self) -> float:
        """Every step of the next epoch; returns the last loss."""
        number, loss = divmod(self.taken, self.batches.steps_per_epoch)[0], 0.0
        for micros in self.batches.epoch(number):
            self.updates.clear()
            loss = float(self.step.both(micros, epoch=number, step=self.taken).loss)
            self.updates.apply(loss, RATE, step=self.taken, items=[])
            self.taken += 1
        return loss


class Stock:
    """The loop that a user would write; open_clip's own training transform decodes and crops."""

    def __init__(self, config: Config, catalogue: Catalogue, first: int) -> None:
        parts: Any = open_clip.create_model_and_transforms(config.model.name, aug_cfg={"scale": (0.5, 1.0)})
        model, self.preprocess, _ = parts
        self.adapters = reachable(model, first)
        lora = LoraConfig(r=config.lora.rank, lora_alpha=int(config.lora.alpha), target_modules=self.adapters)
        self.model = get_peft_model(model, lora).train()
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=DECAY)
        self.loss = open_clip.ClipLoss()
        self.tokenizer: Any = open_clip.get_tokenizer(config.model.name)
        self.catalogue, self.batch = catalogue, config.train.batch_size
        self.objective = Objective(config.loss, catalogue, Prompts.load(config.prompts), seed=config.seed)
        self.number = 0

    def epoch(self) -> float:
        """Every step of the next epoch; returns the last loss."""
        order, loss = np.random.default_rng(self.number).permutation(len(self.catalogue)), torch.zeros(())
        for start in range(0, len(order) - self.batch + 1, self.batch):
            items = order[start : start + self.batch]
            captions = self.objective.texts_for(items, epoch=self.number, step=0).captions
            assert captions is not None
            tokens = self.tokenizer([captions.texts[row] for row in captions.of])
            pixels = torch.stack([self.preprocess(self.catalogue.picture(int(item))) for item in items])
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                image, text, scale = self.model(pixels, tokens)
                loss = self.loss(image, text, scale)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
        self.number += 1
        return float(loss.detach())


def reachable(model: torch.nn.Module, first: int) -> list[str]:
    """Paths of the Linears that stock peft wraps with effect: in image blocks from `first` on, in the text's MLP."""
    found = []
    for path, module in model.named_modules():
        parts = path.split(".")
        if not isinstance(module, torch.nn.Linear) or "qkv" in parts:
            continue
        numbers = [int(part) for part in parts if part.isdecimal()]
        if parts[0] == "visual":
            found += [path] if numbers and numbers[0] >= first else []
        elif parts[-1] in ("c_fc", "c_proj"):
            found.append(path)
    return found


def settings(arguments: argparse.Namespace, **train: Any) -> Config:
    """The config of our sides; `train` replaces keys of its section."""
    blocks = ",".join(str(number) for number in range(arguments.first, arguments.blocks))
    upper = f"image.blocks.{{{blocks}}}"
    return Config.model_validate(
        {
            "name": "cached_blocks",
            "output_dir": "unused",
            "model": {"name": arguments.model, "precision": "bf16"},
            "data": {"source": arguments.source, "attributes": [arguments.attribute], "splits": {"tune": 0.1}},
            "prompts": arguments.prompts,
            "lora": {
                "rank": 16,
                "alpha": 32,
                "dropout": 0.0,
                "plan": [
                    [f"{upper}.attention.{{q,k,v,out}}", 16],
                    [f"{upper}.mlp.*", 16],
                    ["text.blocks.*.attention.{q,k,v,out}", 16],
                    ["*", None],
                ],
            },
            "loss": {"name": "softmax"},
            "train": {
                "batch_size": arguments.batch,
                "micro_batch": arguments.batch,
                "lr": RATE,
                "weight_decay": DECAY,
                "views": VIEWS,
                **train,
            },
            "augment": {"crop": [0.5, 1.0], "flip": True, "jitter": 0.0},
        }
    )


def side(name: str, arguments: argparse.Namespace, folder: Path) -> Ours | Stock:
    """One of SIDES, ready for its first epoch."""
    config = settings(arguments, cache="required" if name == "tokens" else "off")
    catalogue = load_splits(config.data, 0).train.subset(range(arguments.photos))
    return Stock(config, catalogue, arguments.first) if name == "stock" else Ours(config, catalogue, folder)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for tokens."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def rounding(arguments: argparse.Namespace, epochs: int = 3) -> dict[str, Any]:
    """Distance of adapters from the one trained on pictures, relative to its own length.

    `pieces` is the yardstick: pictures again, in two passes a step, so that sums alone are in another order.
    """
    half = arguments.batch // 2
    runs: dict[str, dict[str, Any]] = {
        "pictures": {"cache": "off"},
        "pieces": {"cache": "off", "micro_batch": half},
        **{kept: {"cache_dtype": kept} for kept in ("fp32", "fp16", "bf16")},
    }
    adapters, losses = {}, {}
    for name, train in runs.items():
        with scratch() as folder:
            config = settings(arguments, **train)
            one = Ours(config, load_splits(config.data, 0).train.subset(range(arguments.photos)), folder)
            losses[name] = [round(one.epoch(), 5) for _ in range(epochs)]
            adapters[name] = torch.cat([p.detach().flatten() for n, p in one.parameters.items() if ".lora_B." in n])
    own = adapters.pop("pictures")
    distances = {name: round(float((one - own).norm() / own.norm()), 5) for name, one in adapters.items()}
    return {"epochs": epochs, "distance": distances, "last_losses": losses}


def in_a_process(name: str) -> float:
    """Peak memory of one side's epoch, in MB, from a process that does nothing else."""
    command = [sys.executable, *sys.argv, "--one", name]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mb"])


def main() -> None:
    """Measures, writes eval/results/cached_blocks.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--attribute", default="Pattern")
    parser.add_argument("--photos", type=int, default=384)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--first", type=int, default=8, help="number of the first trained block, from 0")
    parser.add_argument("--blocks", type=int, default=12, help="blocks of the image tower")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rounding", action="store_true", help="also what the kept type does to the adapter")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with scratch() as folder:
        if arguments.one:
            side(arguments.one, arguments, folder).epoch()
            print(json.dumps({"peak_mb": peak()}))
            return
        sides = {name: side(name, arguments, folder) for name in SIDES}
        times = alternating({name: one.epoch for name, one in sides.items()}, rounds=arguments.rounds, warmup=1)
        tokens, stock = sides["tokens"], sides["stock"]
        assert isinstance(tokens, Ours) and isinstance(stock, Stock) and tokens.cached is not None
        cached = tokens.cached
    medians = {name: summary(seconds) for name, seconds in times.items()}
    epoch = medians["tokens"]["median"]
    headline = {
        "benchmark": "cached_blocks",
        "ratio": round(medians["pictures"]["median"] / epoch, 3),
        "ratio_stock": round(medians["stock"]["median"] / epoch, 3),
        "images_per_second": round(arguments.photos / epoch, 1),
        "megabytes_per_view": round(cached.tokens.views[0].bytes / 1e6, 1),
    }
    result = {
        "epoch_seconds": medians,
        "filling_seconds": round(tokens.filling, 2),
        "views": VIEWS,
        "bytes_per_picture_and_view": cached.tokens.views[0].bytes_per_item,
        "peak_mb": {name: in_a_process(name) for name in SIDES},
        "stock_adapters": len(stock.adapters),
        "settings": {key: getattr(arguments, key) for key in ("photos", "batch", "first", "blocks", "rounds")},
        "rounding": rounding(arguments) if arguments.rounding else None,
    }
    publish("cached_blocks", headline, result)


if __name__ == "__main__":
    main()
