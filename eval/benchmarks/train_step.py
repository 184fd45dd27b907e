"""A training step of ours against the loop that one would write with stock open_clip + peft, alternating in one run.

    python eval/benchmarks/train_step.py --model local-dir:MODEL --source CATALOGUE      # "ratio" on the last line
    python eval/benchmarks/train_step.py --model EVA02-B-16 --batch 16                   # random weights
    python eval/benchmarks/train_step.py --switches                # also ours with one saving off at a time

Both sides: the same weights, pictures, captions, batch, autocast in bf16, rank-8 adapters without dropout, CLIP's
softmax loss over the batch, gradients clipped at 1.0, AdamW. The stock side adapts what stock peft can reach: attention
projections that are Linears of their own, and the text tower's MLP in place of its attention, whose adapters
nn.MultiheadAttention would bypass. Ours adapts q, k, v and out everywhere, so it carries more adapters. Timed twice: on
pixels that are ready (`ratio`), and with each side's own decoding and training augmentation in the same process
(`ratio_with_data`). Only exact savings: no picture, token that is read, gradient or adapter is left out.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import torch
from accelerate import Accelerator
from machine import alternating, publish, summary
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

import clipadapt  # noqa: F401  # registers the small EVA with timm
from clipadapt.config import Config
from clipadapt.data.augment import Augment
from clipadapt.data.batches import Batches, TrainBatch
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments import draw
from clipadapt.data.splits import load_splits
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.training import optim, step
from clipadapt.training.objective import Objective
from clipadapt.training.preparation import prepare
from clipadapt.training.updates import Updates

RATE, DECAY = 1e-4, 0.01
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}
"""Dense bf16 operations per second. Source: NVIDIA's data sheets of these cards."""


class ModelBackend:
    """The loop that a user would write."""

    def __init__(self, model: str, catalogue: Catalogue, captions: list[str], device: torch.device, batch: int) -> None:
        name, _, _ = model.partition(":random")
        parts: Any = open_clip.create_model_and_transforms(name, aug_cfg={"scale": (0.5, 1.0)})
        self.model, self.preprocess, _ = parts
        self.adapters = reachable(self.model)
        lora = LoraConfig(r=8, lora_alpha=16, target_modules=self.adapters)
        self.model = get_peft_model(self.model, lora).to(device).train()  # pyright: ignore[reportArgumentType]
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=DECAY)
        self.loss = open_clip.ClipLoss()
        self.tokens = open_clip.get_tokenizer(name)(captions).to(device)
        self.catalogue, self.device, self.batch = catalogue, device, batch

    def pixels(self) -> torch.Tensor:
        """Decoded and augmented as open_clip trains."""
        return torch.stack([self.preprocess(self.catalogue.picture(item)) for item in range(self.batch)])

    def step(self, pixels: torch.Tensor) -> float:
        """Forward, backward and optimizer on ready pixels."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            image, text, scale = self.model(pixels.to(self.device), self.tokens)
            loss = self.loss(image, text, scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        return loss.item()


class Ours:
    """The step that training takes, from the same parts."""

    def __init__(self, config: Config, catalogue: Catalogue, device: torch.device, *, fused: bool = True) -> None:
        self.encoder, logit_scale, self.report = prepare(config, device)
        processes = Processes(Accelerator(cpu=device.type == "cpu"))
        self.objective = Objective(config.loss, catalogue, Prompts.load(config.prompts), seed=config.seed)
        self.training = step.Step(self.encoder, self.objective, logit_scale, processes, config)
        parameters = optim.trainable(self.encoder.model)
        self.updates = Updates(parameters, config.train, processes)
        if not fused:
            self.updates.optimizer = torch.optim.AdamW(parameters.values(), lr=RATE, weight_decay=DECAY)
        augment = Augment(config.augment, self.encoder.preprocess, config.seed)
        self.batches = Batches(catalogue, config.train, augment, config.seed, device=device)
        self.micros = self.pixels()
        self.taken = 0

    def captions(self) -> list[str]:
        """What the pictures of the batch are captioned with, in its order."""
        captions = self.objective.texts_for(self.batches.order(0), epoch=0, step=0).captions
        assert captions is not None
        return [captions.texts[row] for row in captions.of]

    def pixels(self) -> list[TrainBatch]:
        """Decoded and augmented as clipadapt trains."""
        return next(self.batches.epoch(0))

    def step(self, micros: list[TrainBatch]) -> float:
        """Forward, backward and optimizer on ready pixels."""
        self.updates.clear()
        outcome = self.training.both(micros, epoch=0, step=self.taken)
        self.taken += 1
        loss = float(outcome.loss)
        self.updates.apply(loss, RATE, step=self.taken, items=[])
        return loss


def reachable(model: torch.nn.Module) -> list[str]:
    """Paths of the Linears that stock peft wraps with effect: separate attention projections, the text tower's MLP."""
    paths = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    image = [
        path
        for path in paths
        if path.startswith("visual") and path.endswith(("q_proj", "k_proj", "v_proj", "attn.proj"))
    ]
    text = [path for path in paths if not path.startswith("visual") and path.endswith(("c_fc", "c_proj"))]
    return image + text


def settings(arguments: argparse.Namespace, source: str, **model: Any) -> Config:
    """Our config for the comparison; `model` replaces keys of its section."""
    name = arguments.model if ":" in arguments.model else f"{arguments.model}:random"
    return Config.model_validate(
        {
            "name": "train_step",
            "output_dir": "unused",
            "model": {
                "name": name,
                "precision": "bf16",
                "compile": arguments.compile,
                "frozen_dtype": arguments.frozen,
                **model,
            },
            "data": {"source": source, "attributes": arguments.attributes, "splits": {"tune": 0.1}},
            "prompts": arguments.prompts,
            "lora": {"rank": 8, "alpha": 16, "dropout": 0.0},
            "loss": {"name": "softmax"},
            "train": {"batch_size": arguments.batch, "micro_batch": arguments.batch, "lr": RATE, "weight_decay": DECAY},
            "augment": {"crop": [0.5, 1.0], "flip": False, "jitter": 0.0},
        }
    )


@contextlib.contextmanager
def without(saving: str, ours: "Ours") -> Iterator[None]:
    """Takes one saving of a step away."""
    if saving == "matrix attention":
        with mock.patch.object(step, "training_attention", lambda *_, **__: contextlib.nullcontext()):
            yield
    elif saving == "trimmed text":
        with mock.patch.object(ours.encoder.backend, "needed", lambda tokens: tokens.shape[1]):
            yield
    else:
        yield


def contestants(
    arguments: argparse.Namespace, source: str, catalogue: Catalogue, device: torch.device
) -> dict[str, Ours]:
    """Ours and, if asked for, ours with one saving off at a time."""
    found = {"ours": Ours(settings(arguments, source), catalogue, device)}
    if arguments.switches:
        if arguments.compile:
            found["compiled towers"] = Ours(settings(arguments, source, compile=False), catalogue, device)
        if device.type == "cpu":
            found["matrix attention"] = Ours(settings(arguments, source), catalogue, device)
        found["trimmed text"] = Ours(settings(arguments, source), catalogue, device)
        found["fused AdamW"] = Ours(settings(arguments, source), catalogue, device, fused=False)
        other = {"bf16": "fp32", "fp32": "bf16"}[arguments.frozen]
        found[f"frozen weights in {arguments.frozen}"] = Ours(
            settings(arguments, source, frozen_dtype=other), catalogue, device
        )
    return found


def main() -> None:
    """Measures, writes eval/results/train_step_MODEL.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="EVA02-B-16", help="MODEL string; an open_clip name alone has random weights"
    )
    parser.add_argument("--source", help="a catalogue; garments are drawn when there is none")
    parser.add_argument("--prompts", help="its prompts file")
    parser.add_argument("--attributes", nargs="+", help="its attributes")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--frozen", choices=("fp32", "bf16"), default="fp32", help="how ours holds frozen weights")
    parser.add_argument("--switches", action="store_true", help="also ours with one saving off at a time")
    parser.add_argument("--name", help="of the result file; else the model's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, Path(folder))


def run(arguments: argparse.Namespace, folder: Path) -> None:
    """The measurement, with a folder for drawn garments."""
    source = arguments.source
    if source is None:
        source = str(draw(folder / "garments", items=4 * arguments.batch, seed=0, size=224))
    arguments.prompts = arguments.prompts or ("prompts/fashion.yaml" if arguments.source else "prompts/garments.yaml")
    arguments.attributes = arguments.attributes or (["Pattern"] if arguments.source else ["category"])
    device = torch.device(arguments.device)
    cuda = device.type == "cuda"
    config = settings(arguments, source)
    catalogue = load_splits(config.data, 0).train.subset(range(arguments.batch))
    ours = contestants(arguments, source, catalogue, device)
    first = ours["ours"]
    captions = first.captions()
    stock = ModelBackend(config.model.name, catalogue, captions, device, arguments.batch)
    ready = stock.pixels()
    calls = {"stock": lambda: stock.step(ready), **{name: _timed(name, one) for name, one in ours.items()}}
    times = alternating(calls, rounds=arguments.rounds, cuda=cuda)
    calls = {"stock": lambda: stock.step(stock.pixels()), "ours": lambda: first.step(first.pixels())}
    with_data = alternating(calls, rounds=max(3, arguments.rounds // 2), warmup=1, cuda=cuda)
    medians = {name: summary(seconds) for name, seconds in times.items()}
    data = {name: summary(seconds) for name, seconds in with_data.items()}
    seconds = medians["ours"]["median"]
    headline: dict[str, Any] = {
        "benchmark": "train_step",
        "model": Path(arguments.model).name,
        "batch": arguments.batch,
        "ratio": round(medians["stock"]["median"] / seconds, 3),
        "ratio_with_data": round(data["stock"]["median"] / data["ours"]["median"], 3),
        "images_per_second": round(arguments.batch / seconds, 1),
    }
    if cuda:
        headline["peak_share"] = _peak_share(arguments, source, catalogue, device, seconds)
    others = {name: one["median"] for name, one in medians.items() if name not in ("stock", "ours")}
    result = {
        "seconds": medians,
        "seconds_with_data": data,
        "times_slower_without": {name: round(median / seconds, 3) for name, median in others.items()},
        "settings": {key: getattr(arguments, key) for key in ("batch", "rounds", "compile", "frozen", "device")},
        "adapters": {"stock": len(stock.adapters), "ours": sum(one.adapters for one in first.report.towers.values())},
        "text_tokens": {
            "stock": list(stock.tokens.shape),
            "ours": list(first.encoder.tokenize(list(dict.fromkeys(captions))).shape),
        },
    }
    publish(f"train_step_{arguments.name or Path(arguments.model).name}", headline, result)


def _timed(name: str, one: Ours) -> Callable[[], object]:
    def call() -> object:
        with without(name, one):
            return one.step(one.micros)

    return call


def _peak_share(
    arguments: argparse.Namespace, source: str, catalogue: Catalogue, device: torch.device, seconds: float
) -> float | None:
    """Matrix operations that the step really does (frozen weights get no gradients) over what the card could do."""
    plain = Ours(settings(arguments, source, compile=False), catalogue, device)
    with FlopCounterMode(display=False) as counter:
        plain.step(plain.micros)
    name = torch.cuda.get_device_name(device)
    peak = next((peak for card, peak in PEAKS.items() if card in name), None)
    return None if peak is None else round(counter.get_total_flops() / seconds / peak, 3)


if __name__ == "__main__":
    main()
