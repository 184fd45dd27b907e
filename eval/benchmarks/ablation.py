"""Every switch of training, one at a time: what each is worth on a config, and what it costs.

    python eval/benchmarks/ablation.py --config configs/quickstart.yaml --out runs/ablation
    ... --only softmax rank_4 --seeds 3

The reference is the config as it is; each switch (SWITCHES below) is the same config with one thing changed, trained
and measured the same way, and compared with the reference of the same seed on the same items. A switch that the config
has already is left out. `another_seed` is the reference trained from another seed: a difference that is no larger than
its own says nothing. A trained run is kept in --out and not trained again, so switches can be run over days; every call
measures and tabulates whatever is there. Writes eval/results/NAME.json and NAME.md.
"""

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from machine import RESULTS, publish
from pydantic import ValidationError
from trials import Trials

from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.errors import ClipadaptError, ConfigError
from clipadapt.recognition.vectors import VectorCache
from clipadapt.runs import Run
from clipadapt.sections import describe
from clipadapt.towers.load import load

REFERENCE, SEED = "reference", "another_seed"
Raw = dict[str, Any]
Switch = Callable[[Raw], None]
FIGURES = ("headline", "rare", "mAP", "P@10", "texts", "texts mAP", "retention")
"""Those with "texts" are of texts alone, as free words are searched by; others of mixtures where a value is named."""
_ATTENTION = [["*.attention.{q,k,v,out}", 8], ["*.mlp.*", None], ["*.norm.*", None]]
_MLP = [["*.attention.{q,k,v,out}", 8], ["*.mlp.*", 8], ["*.norm.*", None]]
_QV = [["*.attention.{q,v}", 8], ["*.attention.{k,out}", None], ["*.mlp.*", None], ["*.norm.*", None]]


def put(**sections: Mapping[str, Any]) -> Switch:
    """Keys of sections, as a switch."""

    def change(raw: Raw) -> None:
        for section, keys in sections.items():
            raw[section] |= keys

    return change


def captions_alone(name: str) -> Switch:
    """A loss that knows captions and no values: what the config says of values is left out, what it keeps stays."""

    def change(raw: Raw) -> None:
        kept = ("logit_scale", "scale", "keep", "anchor", "answers", "dims")
        raw["loss"] = {"name": name} | {key: raw["loss"][key] for key in kept}
        raw["train"]["order"] = "texts_first"

    return change


def ranks(rank: int) -> Switch:
    """Every adapter at one rank, alpha in proportion."""

    def change(raw: Raw) -> None:
        lora = raw["lora"]
        lora["alpha"] *= rank / lora["rank"]
        lora["rank"] = rank
        lora["plan"] = lora["plan"] and [[pattern, own and rank] for pattern, own in lora["plan"]]

    return change


def targets(plan: list[list[Any]]) -> Switch:
    """Which Linears, at the rank that the config has."""

    def change(raw: Raw) -> None:
        raw["lora"]["plan"] = [[pattern, own and raw["lora"]["rank"]] for pattern, own in plan]

    return change


SWITCHES: Mapping[str, Switch] = {
    "softmax": captions_alone("softmax"),
    "sigmoid": captions_alone("sigmoid"),
    "multi_positive": captions_alone("multi_positive"),
    "attributes": put(loss={"name": "attributes"}),
    "captions_too": put(loss={"caption_weight": 0.5}, train={"order": "texts_first"}),
    "no_captions": put(loss={"caption_weight": 0.0}),
    "hard_negatives": put(loss={"caption_weight": 0.5}, train={"hard_negatives": 0.5, "order": "texts_first"}),
    "own_scale": put(loss={"scale": None}),
    "trained_scale": put(loss={"logit_scale": "trained"}),
    "no_logit_adjustment": put(loss={"logit_adjustment": 0.0}),
    "balance_none": put(train={"balance": "none"}),
    "balance_sqrt": put(train={"balance": "sqrt"}),
    "balance_full": put(train={"balance": "full"}),
    "keep": put(loss={"keep": 1.0}, train={"order": "texts_first"}),
    "no_anchor": put(loss={"anchor": 0.0, "answers": 0.0}),
    "anchor": put(loss={"anchor": 10.0}),
    "text_warmup": put(train={"text_warmup": 100}),
    "text_warmup_to_value_vectors": put(train={"text_warmup": 100}, loss={"value_vectors": 10.0}),
    "no_value_vectors": put(loss={"value_vectors": 0.0}, train={"order": "texts_first"}),
    "texts_first": put(train={"order": "texts_first"}),
    "no_search": put(loss={"search": 0.0}),
    "no_wordings": put(loss={"wordings": 0}),
    "no_titles": put(data={"title": None}),
    "epochs_5": put(train={"epochs": 5}),
    "no_average": put(train={"average": 0.0}),
    "no_text_warmup": put(train={"text_warmup": 0, "order": "texts_first"}, loss={"value_vectors": 0.0}),
    "no_augmentation": put(augment={"crop": [1.0, 1.0], "flip": False, "jitter": 0.0}),
    "crops_from_half": put(augment={"crop": [0.5, 1.0]}),
    "mixup": put(augment={"mixup": 0.2}),
    "cutmix": put(augment={"cutmix": 1.0, "force": ["cutmix"]}),
    "autoaugment": put(augment={"autoaugment": True, "force": ["autoaugment"]}),
    "rank_4": ranks(4),
    "rank_8": ranks(8),
    "rank_16": ranks(16),
    "rank_32": ranks(32),
    "attention_alone": targets(_ATTENTION),
    "queries_and_values": targets(_QV),
    "with_mlp": targets(_MLP),
    "norms_too": put(lora={"norms": True}),
    "norms_alone": put(train={"trainable": "norms"}, lora={"tokens": False}),
    "image_alone": put(lora={"preset": "image", "tokens": False}, train={"text_warmup": 0}),
    "text_alone": put(lora={"preset": "text"}),
    "tokens": put(lora={"tokens": True}),
    "no_tokens": put(lora={"tokens": False}),
    "dora": put(lora={"options": {"use_dora": True}}),
    "rslora": put(lora={"options": {"use_rslora": True}}),
    "pissa": put(lora={"options": {"init_lora_weights": "pissa"}}),
    SEED: lambda raw: raw.update(seed=raw["seed"] + 1000),
}


class Ablation(Trials):
    """The reference and its switches."""

    def __init__(self, config: Config, out: Path) -> None:
        super().__init__(config, out, VectorCache(out / "vectors"))

    def changed(self, name: str, seed: int) -> Config | None:
        """The config of a switch; None where it is the reference itself.

        Raises:
            ConfigError: the switch does not go with the config.
        """
        raw = self.config.model_dump(mode="json")
        raw |= {"export": [], "index": None, "seed": seed}
        raw["eval"]["suite"] = None
        before = copy.deepcopy(raw)
        if name != REFERENCE:
            SWITCHES[name](raw)
            try:
                same = Config.model_validate(raw) == Config.model_validate(before)
            except ValidationError as error:
                raise ConfigError(f"{name}: {'; '.join(describe(error, Config))}") from error
            if same:
                return None
        return Config.model_validate(raw | {"output_dir": str(self.out / name / f"seed{seed}")})

    def passes(self, config: Config) -> int:
        """Pictures that go through the image tower in training."""
        size = config.train.batch_size
        return config.train.epochs * -(-len(self.splits(config.seed).train) // size) * size

    def compared(self, name: str, seed: int) -> tuple[dict[str, float], dict[str, Any], float] | None:
        """(figures, switch minus reference, seconds of training); None where a run is missing."""
        runs = [self.finished(one, seed) for one in (name, REFERENCE)]
        if runs[0] is None or runs[1] is None:
            return None
        one, reference = (load(f"run:{run.path}") for run in runs if run is not None)
        if name == REFERENCE:
            reference = load(self.config.model.name, image_size=self.config.model.image_size)
        results = self.measure(one, reference, (name, "base" if name == REFERENCE else REFERENCE), seed)
        return self.figures(results, name), self.differences(results), self.notes(runs[0])["seconds"]

    def finished(self, name: str, seed: int) -> Run | None:
        """The run of a switch, if it is there."""
        try:
            config = self.changed(name, seed)
        except ConfigError:
            return None
        return None if config is None else self.kept(config.output_dir)


def main() -> None:
    """Trains what is missing, measures all that is there, writes the results and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--only", nargs="+", choices=tuple(SWITCHES), default=list(SWITCHES), metavar="SWITCH")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--name", default="ablation", help="of the files in eval/results")
    arguments = parser.parse_args()
    ablation = Ablation(Config.load(arguments.config), arguments.out)
    failed = {}
    for seed in range(arguments.seeds):
        for name in (REFERENCE, *arguments.only):
            try:
                config = ablation.changed(name, seed)
                if config is not None:
                    ablation.train(config, passes=ablation.passes(config))
            except ClipadaptError as error:
                failed[name] = str(error)
    rows = dict(_rows(ablation))
    text = table(rows)
    RESULTS.mkdir(exist_ok=True)
    atomic_write(RESULTS / f"{arguments.name}.md", text)
    print(text)
    headline = {"switches": len(rows) - 1, "failed": failed, "reference": rows[REFERENCE]["figures"]}
    publish(arguments.name, headline, {"config": arguments.config, "rows": rows})


def _rows(ablation: Ablation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each name that has runs: its figures, means over seeds, and what each seed showed."""
    for name in (REFERENCE, *SWITCHES):
        parts, seed = [], 0
        while (part := ablation.compared(name, seed)) is not None:
            parts.append(part)
            seed += 1
        if parts:
            figures = {key: round(mean(one[key] for one, _, _ in parts), 4) for key in parts[0][0]}
            seconds = round(mean(seconds for _, _, seconds in parts), 1)
            yield name, {"figures": figures, "seconds": seconds, "minus": [pair for _, pair, _ in parts]}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: the reference's figures, then each switch minus the reference of the same seed, in points."""
    known = [key for key in FIGURES if key in rows[REFERENCE]["figures"]]
    lines = [
        "| switch | " + " | ".join(known) + " | seconds |",
        "|---|" + "---|" * (len(known) + 1),
        f"| {REFERENCE} | "
        + " | ".join(f"{rows[REFERENCE]['figures'][key]:.3f}" for key in known)
        + f" | {rows[REFERENCE]['seconds']:.0f} |",
    ]
    for name, row in rows.items():
        if name != REFERENCE:
            told = " | ".join(_told([pair.get(key, {}) for pair in row["minus"]]) for key in known)
            lines.append(f"| {name} | {told} | {row['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def _told(pairs: list[dict[str, float]]) -> str:
    """A difference in points with its interval, where one seed has one; of several seeds the mean, least and most."""
    if not all(pairs):
        return ""
    deltas = [100 * pair["delta"] for pair in pairs]
    said, first = f"{mean(deltas):+.1f}", pairs[0]
    if len(pairs) > 1:
        return f"{said} ({min(deltas):+.1f} to {max(deltas):+.1f})"
    if first.get("low") is not None:
        said += f" [{100 * first['low']:+.1f}, {100 * first['high']:+.1f}]"
    return said


if __name__ == "__main__":
    main()
