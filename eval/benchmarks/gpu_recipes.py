"""The recipes for hub weights, whole, on random weights of full size and drawn garments: do they run, and at what cost.

    python eval/benchmarks/gpu_recipes.py                                     on a GPU: about two minutes a recipe
    python eval/benchmarks/gpu_recipes.py --only eva02_b16 --items 96 --batch 8 --micro 8     on a CPU: to try it

Each of configs/fashion_NAME.yaml as it ships: towers, LoRA, losses, value vectors, kept tokens, the text warm-up, both
towers, evaluation and the merged export; only data, prompts, weights and the numbers of items, steps and epochs are
others. Nothing is said about quality. Per recipe: median seconds of a step after the first ones, pictures a second, the
largest memory (of the card, where there is one, and of the process), tokens on disk per picture, and which share of the
card's dense bf16 peak a step reaches, by the operations that it really does. Writes eval/results/gpu_recipes.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import peak, publish
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.utils.flop_counter import FlopCounterMode
from train_step import PEAKS
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel

from clipadapt.config import Config
from clipadapt.data.garments import draw
from clipadapt.data.splits import load_splits
from clipadapt.export.formats import export
from clipadapt.training.callbacks import Callback, State
from clipadapt.training.trainer import train

RECIPES = ("eva02_b16", "eva02_l14_336", "siglip")
SETTLED = 3
"""Steps that are not timed: kernels are chosen and memory is reserved in them."""


class Watch(Callback):
    """Times steps, and counts the operations of one of them, which is not timed."""

    def __init__(self) -> None:
        self.ended: list[float] = []
        self.token_bytes = 0
        self.operations = 0
        self._counter: FlopCounterMode | None = None

    def on_step(self, state: State, figures: Mapping[str, float]) -> None:
        """The step after the settled ones is counted."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.operations, self._counter = self._counter.get_total_flops(), None
            self.ended.clear()
        elif not self.operations and state.step == SETTLED:
            cache = state.run.path / "cache"
            self.token_bytes = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        self.ended.append(time.perf_counter())

    @property
    def seconds(self) -> float | None:
        """Of a step, the median; None where too few were taken."""
        steps = [after - before for before, after in zip(self.ended, self.ended[1:], strict=False)]
        return median(steps) if steps else None


def main() -> None:
    """One process for each recipe, so that memory is its own; writes the result and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--items", type=int, default=1024, help="pictures that are drawn")
    parser.add_argument("--batch", type=int, help="instead of the recipe's")
    parser.add_argument("--micro", type=int, help="instead of the recipe's")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=20, help="steps of the text tower alone")
    parser.add_argument("--name", default="gpu_recipes", help="of the file in eval/results")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(measured(given, given.inside)))
        return
    found: dict[str, Any] = {}
    for recipe in given.only:
        command = [sys.executable, __file__, *sys.argv[1:], "--inside", recipe]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        found[recipe] = (
            json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failed": done.returncode}
        )
    failed = [recipe for recipe, one in found.items() if "failed" in one]
    shown = ("step_seconds", "images_per_second", "gpu_mb", "peak_share")
    headline = {recipe: {key: one.get(key) for key in shown} for recipe, one in found.items() if recipe not in failed}
    asked = {"items": given.items, "epochs": given.epochs, "text_warmup": given.warmup}
    publish(given.name, {**headline, "failed": failed}, {"recipes": found, "asked": asked})
    if failed:
        raise SystemExit(1)


def measured(given: argparse.Namespace, recipe: str) -> dict[str, Any]:
    """Trains and exports one recipe, and says what it took."""
    with tempfile.TemporaryDirectory() as folder:
        config = changed(given, recipe, Path(folder))
        items = len(load_splits(config.data, config.seed).train)
        started, watch = time.perf_counter(), Watch()
        run = train(config, callbacks=[watch])
        trained = time.perf_counter() - started
        export(f"run:{run.path}", "transformers" if recipe == "siglip" else "open_clip", Path(folder) / "export")
    seconds, cuda = watch.seconds, torch.cuda.is_available()
    card = torch.cuda.get_device_name() if cuda else None
    best = next((one for name, one in PEAKS.items() if card is not None and name in card), None)
    return {
        "model": "SigLIP base, patch 16, 224 px" if recipe == "siglip" else config.model.name,
        "card": card,
        "batch": config.train.batch_size,
        "micro_batch": config.train.micro_batch,
        "step_seconds": seconds,
        "images_per_second": None if seconds is None else round(config.train.batch_size / seconds, 1),
        "operations": watch.operations,
        "peak_share": None if seconds is None or best is None else round(watch.operations / seconds / best, 3),
        "token_bytes_per_picture": watch.token_bytes // items,
        "gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None,
        "process_mb": peak(),
        "seconds": {"trained": round(trained, 1), "exported": round(time.perf_counter() - started - trained, 1)},
    }


def changed(given: argparse.Namespace, recipe: str, folder: Path) -> Config:
    """A recipe's config on drawn garments and random weights, smaller in numbers alone."""
    raw = Config.load(f"configs/fashion_{recipe}.yaml").model_dump(mode="json")
    model = f"transformers:{siglip(folder / 'siglip')}" if recipe == "siglip" else _random(raw["model"]["name"])
    raw |= {"output_dir": str(folder / "run"), "prompts": "prompts/garments.yaml", "index": None}
    raw["model"]["name"] = model
    raw["data"] |= {
        "source": str(draw(folder / "garments", items=given.items, seed=0, size=224)),
        "attributes": ["pattern", "fabric", "cut", "category", "colour"],
        "title": None,
    }
    raw["loss"]["attribute_weights"] = {"category": 0, "colour": 0}
    raw["eval"] |= {"suite": None, "headline": ["pattern", "fabric", "cut"]}
    raw["train"] |= {"epochs": given.epochs, "text_warmup": given.warmup, "patience": None}
    raw["train"]["batch_size"] = given.batch or raw["train"]["batch_size"]
    raw["train"]["micro_batch"] = given.micro or min(raw["train"]["micro_batch"], raw["train"]["batch_size"])
    return Config.model_validate(raw)


def _random(name: str) -> str:
    return f"{name.partition(':')[0]}:random"


def siglip(folder: Path) -> Path:
    """A folder of transformers' SigLIP with random weights in its own size, and a tokenizer of single characters."""
    torch.manual_seed(0)
    config = SiglipConfig(text_config={"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 1})
    text = config.text_config
    assert text is not None and not isinstance(text, dict)
    vocabulary = {"<unk>": 0, "</s>": 1}
    vocabulary |= {
        character: place for place, character in enumerate("abcdefghijklmnopqrstuvwxyz-", start=len(vocabulary))
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>")
    fast.model_max_length = text.max_position_embeddings
    fast.save_pretrained(folder)
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
