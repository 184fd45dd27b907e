"""Every baseline by name, on one config's data, by the same evaluation: quality on rare values against retention.

    python eval/benchmarks/baselines.py --config configs/fashion_small.yaml --out runs/baselines
    ... --only plain_lora full --seeds 3 --rates 1e-4 3e-4 1e-3

Names and what they mean stand in recipes.py. A trained run is kept in --out and not trained again, so names can be run
one by one, over days; every call then measures and tabulates whatever is there. With --rates each name is trained at
each rate and the best on tune is measured. Ours is compared with each of the others on the same items, seed by seed,
with the paired intervals of the evaluation; a figure of several seeds is their mean. The plane is drawn to
eval/results/NAME.svg, and where a baseline wins on both axes the result says so.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from machine import RESULTS, publish
from plane import Mark, plane
from recipes import INTERPOLATED, NAMES, TRAINED_AS, picture_passes, recipe

from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.data.splits import Splits, load_splits
from clipadapt.evaluation.evaluate import evaluate, train_counts
from clipadapt.evaluation.results import RESULTS as FILE
from clipadapt.evaluation.results import Results
from clipadapt.evaluation.rows import Row, select
from clipadapt.evaluation.suite import Retention, Suite
from clipadapt.evaluation.vectors import VectorCache, Wording
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge
from clipadapt.training.trainer import train

OURS, BASE, ONE = "ours", "zero_shot", "zero_shot_one"
DONE = "finished.json"


class Contest:
    """One config's data, words and suite, and the folder that runs are kept in."""

    def __init__(self, config: Config, out: Path, *, passes: int, balance: str | None, rates: Sequence[float]) -> None:
        self.config = config
        self.out = out
        self.passes = passes
        self.balance = balance
        self.rates: tuple[float | None, ...] = tuple(rates) or (None,)
        self.suite = Suite.load(config.eval.suite or "eval/attributes.yaml")
        self.prompts = Prompts.load(config.prompts)
        self.vectors = Words(out / "vectors")

    def configs(self, name: str, seed: int) -> list[Config]:
        """What is trained for a name: one config, or one for each rate."""
        name = TRAINED_AS.get(name, name)
        items = len(self.splits(seed).train)
        found: dict[str, Config] = {}
        for rate in self.rates:
            made = recipe(name, self.config, items=items, passes=self.passes, balance=self.balance, rate=rate)
            balance = "" if self.balance is None else f"-{self.balance}"
            own = "" if rate is None else f"-{made.train.lr:g}"
            place = self.out / name / f"seed{seed}{balance}{own}"
            found[str(place)] = made.model_copy(update={"seed": seed, "output_dir": str(place)})
        return list(found.values())

    def splits(self, seed: int) -> Splits:
        """As a run of that seed has them."""
        return load_splits(self.config.data, seed)

    def train(self, name: str, seed: int) -> None:
        """Trains what is not there yet, and notes how long it took."""
        for config in self.configs(name, seed):
            if not Path(config.output_dir, DONE).exists():
                started = time.perf_counter()
                run = train(config)
                items = len(self.splits(seed).train)
                kept = {
                    "seconds": round(time.perf_counter() - started, 1),
                    "passes": picture_passes(TRAINED_AS.get(name, name), config, items=items),
                }
                atomic_write(run.path / DONE, json.dumps(kept) + "\n")

    def finished(self, name: str, seed: int) -> Run | None:
        """The run that stands for a name: of several rates the best on tune; None where one is missing."""
        places = [Path(config.output_dir) for config in self.configs(name, seed)]
        if not all((place / DONE).exists() for place in places):
            return None
        metric = f"tune_{self.config.eval.select_on}"
        return max((Run.open(place) for place in places), key=lambda run: _best(run, metric))

    def encoder(self, name: str, seed: int) -> Encoder | None:
        """What is measured under a name; None where its run is not there."""
        if NAMES[name] == "base":
            return self.vectors.told(load(self.config.model.name, image_size=self.config.model.image_size), name)
        run = self.finished(name, seed)
        if run is None:
            return None
        encoder = load(f"run:{run.path}")
        if name == "wise_ft":
            assert isinstance(encoder, TorchEncoder)
            merge(encoder, {"image": INTERPOLATED, "text": INTERPOLATED})
        return encoder

    def measure(self, encoder: Encoder, against: Encoder, names: tuple[str, str], seed: int) -> Results:
        """Two systems on validation; read from --out where these very two were measured before."""
        place = self.out / "reports" / f"{names[0]}-{names[1]}-seed{seed}"
        if (place / FILE).exists():
            kept = Results.load(place)
            spaces = [kept.config["systems"].get(name, {}).get("image_space") for name in names]
            words = [kept.config["systems"].get(name, {}).get("text_space") for name in names]
            digest = kept.config["prompts"]["digest"] == self.prompts.digest
            same_suite = kept.config["suite"] == self.suite.model_dump(mode="json")
            both = (encoder, against)
            if (
                digest
                and same_suite
                and spaces == [one.image_space for one in both]
                and words == [one.text_space for one in both]
            ):
                return kept
        splits = self.splits(seed)
        return evaluate(
            encoder,
            splits.validation,
            self.prompts,
            self.suite,
            split="validation",
            against=against,
            systems=names,
            train_counts=train_counts(splits.train, splits.tune),
            headline=self.config.eval.headline,
            fitted_on={"weights": "train", "epoch": "tune"},
            cache=self.vectors,
            broken=self.config.data.broken,
            out=place,
        )


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
        self, encoder: Encoder, prompts: Wording, attribute: str, values: Sequence[str], *, plain: bool = False
    ) -> Any:
        """As the cache's own; plain for the one system."""
        single = any(encoder is one for one in self._single)
        return super().values(encoder, prompts, attribute, values, plain=plain or single)


class Line(NamedTuple):
    """One name's figures, means over its seeds."""

    name: str
    seeds: int
    figures: dict[str, float]
    seconds: float
    passes: int
    paired: list[dict[str, Any]]
    """Ours minus this one, seed by seed."""

    def to_json(self) -> dict[str, Any]:
        rounded = {key: round(value, 4) for key, value in self.figures.items()}
        return {
            "seeds": self.seeds,
            **rounded,
            "seconds": self.seconds,
            "passes": self.passes,
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
            contest.train(name, seed)
    lines = [line for name in NAMES if (line := measured(contest, name)) is not None]
    headline, result = table(lines)
    RESULTS.mkdir(exist_ok=True)
    if headline["ours_measured"]:
        marks = [Mark(one.name, one.figures["retention"], one.figures["rare"], one.name == OURS) for one in lines
                 if {"retention", "rare"} <= one.figures.keys()]  # fmt: skip
        atomic_write(RESULTS / f"{arguments.name}.svg", plane(marks, "retention", "balanced accuracy of rare values"))
    settings = {"config": arguments.config, "passes": arguments.passes, "balance": arguments.balance}
    publish(arguments.name, headline, {"settings": settings | {"rates": arguments.rates}, **result})


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
        notes = {"seconds": 0.0, "passes": 0} if run is None else json.loads((run.path / DONE).read_text())
        paired = {} if ours is None else {"seed": seed, "ours_seed": ours_seed, **_differences(contest, results)}
        yield _figures(contest, results, name), paired, notes
        if NAMES[name] == "base" and contest.finished(OURS, seed + 1) is None:
            return


def _rows(contest: Contest, results: Results) -> dict[str, list[Row]]:
    """Figure -> its rows of both systems: one each, or one for each headline attribute."""
    headline = {"task": "headline"}
    found = {
        "headline": select(results.rows, **headline, metric="balanced_accuracy"),
        "rare": select(results.rows, **headline, metric="rare_balanced_accuracy"),
        "mAP": select(results.rows, **headline, metric="average_precision"),
        "P@10": [
            row
            for row in select(results.rows, task="text_to_image", metric="precision", k=10, value=None, bin="all")
            if row.attribute in results.config["headline"]
        ],
    }
    for task in contest.suite.tasks:
        if isinstance(task, Retention):
            about = {"attribute": task.attribute, "value": None, "bin": "all", "metric": "balanced_accuracy"}
            found["retention"] = select(results.rows, task=f"retention:{task.name}", **about)
            break
    return {key: rows for key, rows in found.items() if rows}


def _figures(contest: Contest, results: Results, name: str) -> dict[str, float]:
    own = {key: [row.mean for row in rows if row.system == name] for key, rows in _rows(contest, results).items()}
    return {key: mean(some) for key, some in own.items() if some}


def _differences(contest: Contest, results: Results) -> dict[str, Any]:
    """Ours minus the other: with interval and p where one row says it, else the mean over attributes."""
    found: dict[str, Any] = {}
    for key, rows in _rows(contest, results).items():
        pairs = [row for row in rows if row.paired]
        if len(pairs) == 1:
            row = pairs[0]
            figures = {"delta": row.delta, "low": row.delta_low, "high": row.delta_high, "p": row.p}
            found[key] = {name: None if value is None else round(value, 4) for name, value in figures.items()}
        elif pairs:
            found[key] = {"delta": round(mean(row.delta or 0.0 for row in pairs), 4)}
    return found


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


def _best(run: Run, metric: str) -> float:
    """Tune's best score of a run after training."""
    scores = [row[metric] for row in run.metrics() if row.get("when") not in (None, "before") and metric in row]
    return max(scores, default=-1.0)


if __name__ == "__main__":
    main()
