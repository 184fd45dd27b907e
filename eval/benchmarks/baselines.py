"""Every baseline by name, on one config's data, by the same evaluation: quality on rare values against retention.

    python eval/benchmarks/baselines.py --config configs/fashion_small.yaml --out runs/baselines
    ... --only plain_lora full --seeds 3 --rates 1e-4 3e-4 1e-3

Names and what they mean stand in recipes.py. A trained run is kept in --out and not trained again, so names can be run
one by one, over days; every call then measures and tabulates whatever is there. With --rates each name is trained at
each rate; of all rates that a seed was ever trained at the best on tune is measured. Ours is compared with each of the
others on the same items, seed by seed, with the paired intervals of the evaluation; a figure of several seeds is their
mean. The plane is drawn to eval/results/NAME.svg, and where a baseline wins on both axes the result says so.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from machine import RESULTS, publish
from plane import Mark, plane
from recipes import FREE, INTERPOLATED, NAMES, TRAINED_AS, picture_passes, recipe
from trials import Trials

from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.recognition.values import Wording
from clipadapt.recognition.vectors import VectorCache
from clipadapt.runs import Run
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge
from clipadapt.towers.value_vectors import Cloud, Learned, ValueVectors
from clipadapt.training.labels import labels_of
from clipadapt.training.value_vectors import learn

OURS, BASE, ONE, VECTORS = "ours", "zero_shot", "zero_shot_one", "value_vectors"


class Contest(Trials):
    """The trials of every name."""

    def __init__(self, config: Config, out: Path, *, passes: int, balance: str | None, rates: Sequence[float]) -> None:
        self.words = Words(out / "vectors")
        super().__init__(config, out, self.words)
        self.passes = passes
        self.balance = balance
        self.rates: tuple[float | None, ...] = tuple(rates) or (None,)

    def configs(self, name: str, seed: int) -> list[Config]:
        """What is trained for a name: one config, or one for each rate."""
        name = TRAINED_AS.get(name, name)
        items = len(self.splits(seed).train)
        found: dict[str, Config] = {}
        for rate in self.rates:
            made = recipe(name, self.config, items=items, passes=self.passes, balance=self.balance, rate=rate)
            own = "" if rate is None else f"-{made.train.lr:g}"
            place = self.out / name / f"{self._seed(seed)}{own}"
            found[str(place)] = made.model_copy(update={"seed": seed, "output_dir": str(place)})
        return list(found.values())

    def train_name(self, name: str, seed: int) -> None:
        """Trains what is not there yet."""
        items = len(self.splits(seed).train)
        for config in self.configs(name, seed):
            self.train(config, passes=picture_passes(TRAINED_AS.get(name, name), config, items=items))

    def finished(self, name: str, seed: int) -> Run | None:
        """The run that stands for a name: of the rates it was trained at the best on tune; None where there is none."""
        return max(self._trained(name, seed), key=self.tuned, default=None)

    def rates_of(self, name: str, seed: int) -> dict[str, Any]:
        """The learning rate that stands for a trained name, and all that were tried."""
        tried = {run.config.train.lr: self.tuned(run) for run in self._trained(name, seed)}
        return {"rate": max(tried, key=lambda rate: tried[rate]), "rates_tried": sorted(tried)}

    def value_vectors(self, base: TorchEncoder, seed: int) -> ValueVectors:
        """Learned on the base's pictures as training begins, and not mixed with texts."""
        train, loss = self.splits(seed).train, self.config.loss
        pictures = self.words.pictures(base, train)
        weights = {name: weight or 1.0 for name, weight in loss.attribute_weights.items()}
        labels = labels_of(train, weights)
        learned = learn(
            labels, torch.from_numpy(pictures), seed=seed, search=loss.search,
            scale=base.scale if loss.scale is None else loss.scale, tau=loss.logit_adjustment,
        )  # fmt: skip
        found = {one.attribute: Learned(tuple(one.values), learned[one.attribute].numpy(), 1.0) for one in labels}
        return ValueVectors(found, base.image_space, {}, Cloud.of(pictures))

    def _trained(self, name: str, seed: int) -> list[Run]:
        """The finished runs of a name, one for each rate."""
        folder = self.out / TRAINED_AS.get(name, name)
        trained = [folder / self._seed(seed), *sorted(folder.glob(f"{self._seed(seed)}-[0-9]*"))]
        return [run for place in trained if (run := self.kept(place)) is not None]

    def _seed(self, seed: int) -> str:
        """A run's folder, but for its rate."""
        return f"seed{seed}" if self.balance is None else f"seed{seed}-{self.balance}"

    def encoder(self, name: str, seed: int) -> Encoder | None:
        """What is measured under a name; None where its run is not there."""
        if NAMES[name] == "base":
            base = self.words.told(load(self.config.model.name, image_size=self.config.model.image_size), name)
            if name == VECTORS:
                assert isinstance(base, TorchEncoder)
                base.value_vectors = self.value_vectors(base, seed)
            return base
        run = self.finished(name, seed)
        if run is None:
            return None
        encoder = load(f"run:{run.path}")
        if name == "wise_ft":
            assert isinstance(encoder, TorchEncoder)
            merge(encoder, {"image": INTERPOLATED, "text": INTERPOLATED})
        return encoder


class Words(VectorCache):
    """Vectors, where one system takes the single plain text of each value and the others take all of them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._single: list[Encoder] = []

    def told(self, encoder: Encoder, name: str) -> Encoder:
        """The encoder, noted if its name is that of the single template."""
        if name == ONE:
            self._single.append(encoder)
        return encoder

    def values(
        self,
        encoder: Encoder,
        prompts: Wording,
        attribute: str,
        values: Sequence[str],
        *,
        plain: bool = False,
        share: float | None = None,
    ) -> Any:
        """As the cache's own; plain for the one system."""
        single = any(encoder is one for one in self._single)
        return super().values(encoder, prompts, attribute, values, plain=plain or single, share=share)


class Line(NamedTuple):
    """One name's figures, means over its seeds."""

    name: str
    seeds: int
    figures: dict[str, float]
    seconds: float
    passes: int
    rates: list[dict[str, Any]]
    """Learning rate, chosen on tune among those tried, seed by seed; none for what has no rate."""
    paired: list[dict[str, Any]]
    """Ours minus this one, seed by seed."""

    def to_json(self) -> dict[str, Any]:
        rounded = {key: round(value, 4) for key, value in self.figures.items()}
        return {
            "seeds": self.seeds,
            **rounded,
            "seconds": self.seconds,
            "passes": self.passes,
            "rates": self.rates,
            "ours_minus": self.paired,
        }


def main() -> None:
    """Trains what is missing, measures all that is there, writes the results and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/fashion_small.yaml")
    parser.add_argument("--only", nargs="+", choices=tuple(NAMES), default=list(NAMES), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=1, help="of each trained name of --only: 0, 1, ...")
    parser.add_argument("--passes", type=int, default=15_000, help="most picture passes of a run")
    parser.add_argument(
        "--balance", choices=("none", "sqrt", "full"), help="of every trained name; default: the config's"
    )
    parser.add_argument("--rates", nargs="+", type=float, default=[], help="learning rates each name may choose from")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"))
    parser.add_argument("--name", default="baselines", help="of the files in eval/results")
    arguments = parser.parse_args()
    contest = Contest(
        Config.load(arguments.config), arguments.out,
        passes=arguments.passes, balance=arguments.balance, rates=arguments.rates,
    )  # fmt: skip
    for name, seed in itertools.product(arguments.only, range(arguments.seeds)):
        if NAMES[name] == "run":
            contest.train_name(name, seed)
    lines = [line for name in NAMES if (line := measured(contest, name)) is not None]
    headline, result = table(lines)
    RESULTS.mkdir(exist_ok=True)
    if headline["ours_measured"]:
        marks = [Mark(one.name, one.figures["retention"], one.figures["rare"], one.name == OURS) for one in lines
                 if {"retention", "rare"} <= one.figures.keys()]  # fmt: skip
        atomic_write(RESULTS / f"{arguments.name}.svg", plane(marks, "retention", "balanced accuracy of rare values"))
    settings = {"config": arguments.config, "passes": arguments.passes, "balance": arguments.balance}
    publish(arguments.name, headline, {"settings": settings, **result})


def measured(contest: Contest, name: str) -> Line | None:
    """Every seed of a name that is there, beside ours of the same seed (or its first); None where nothing is."""
    parts = list(_seeds(contest, name))
    if not parts:
        return None
    figures = [found for found, _, _ in parts]
    kept = [notes for _, _, notes in parts]
    return Line(
        name,
        len(parts),
        {key: mean(one[key] for one in figures) for key in figures[0]},
        round(mean(one["seconds"] for one in kept), 1),
        max(one["passes"] for one in kept),
        [contest.rates_of(name, seed) for seed in range(len(parts))]
        if NAMES[name] == "run" and name not in FREE
        else [],
        [pair for _, pair, _ in parts if pair],
    )


def _seeds(contest: Contest, name: str) -> Iterator[tuple[dict[str, float], dict[str, Any], dict[str, Any]]]:
    """(figures, ours minus this, seconds and passes) of each seed."""
    for seed in itertools.count():
        encoder = contest.encoder(name, seed)
        if encoder is None or (NAMES[name] == "base" and seed and contest.finished(OURS, seed) is None):
            return
        ours_seed = seed if contest.finished(OURS, seed) is not None else 0
        ours = None if name == OURS else contest.encoder(OURS, ours_seed)
        other = encoder if ours is not None else contest.encoder(BASE, 0)
        assert other is not None
        pair = (OURS, name) if ours is not None else (name, BASE if name != BASE else f"{BASE}_again")
        results = contest.measure(ours or encoder, other, pair, seed)
        run = None if NAMES[name] == "base" else contest.finished(name, seed)
        notes = {"seconds": 0.0, "passes": 0} if run is None else contest.notes(run)
        paired = {} if ours is None else {"seed": seed, "ours_seed": ours_seed, **contest.differences(results)}
        yield contest.figures(results, name), paired, notes
        if NAMES[name] == "base" and contest.finished(OURS, seed + 1) is None:
            return


def table(lines: Sequence[Line]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(headline, whole result)."""
    ours = next((line for line in lines if line.name == OURS), None)
    others = [line for line in lines if line.name != OURS]
    both = [] if ours is None else [line.name for line in others if _better(line, ours)]
    result = {"names": {line.name: line.to_json() for line in lines}, "better_on_both": both}
    headline: dict[str, Any] = {"ours_measured": ours is not None, "measured": [line.name for line in lines]}
    if ours is not None:
        rare = [(line.figures.get("rare", 0.0), line.name) for line in others]
        plain = next((line for line in others if line.name == "plain_lora"), None)
        lows = [pair["rare"]["low"] for pair in plain.paired if "rare" in pair] if plain is not None else []
        headline |= {
            "rare": round(ours.figures.get("rare", 0.0), 4),
            "best_other_on_rare": max(rare)[1] if rare else None,
            "beats_plain_lora_on_rare": bool(lows) and all(low is not None and low > 0 for low in lows),
            "better_on_both": both,
            "met": not both and bool(lows) and all(low is not None and low > 0 for low in lows),
        }
    return headline, result


def _better(line: Line, ours: Line) -> bool:
    """Whether a baseline has more of both, by the figures themselves."""
    axes = ("rare", "retention")
    return all(line.figures.get(axis, -1.0) > ours.figures.get(axis, 2.0) for axis in axes)


if __name__ == "__main__":
    main()
