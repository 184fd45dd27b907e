"""Few labels: 1 to 16 labelled items a value, ours beside a linear probe, Tip-Adapter-F and CLIP-LoRA's recipe.

    python eval/benchmarks/few_labels.py --config configs/fashion_small.yaml --out runs/few_labels --draws 5
    ... --only clip_lora ours --counts 1 16 --draws 1 --passes 16000
    ... --only ours --draws 1 --out runs/few_labels_short train.text_warmup=20

Of each headline attribute every value keeps --counts labelled items of the training split, or all it has; other cells
of these attributes are emptied, and items without a label are left out. Draws are nested (two items are one and
another) and keyed by (seed, draw). The columns of other attributes stay as they are: nothing is taught about them.

What chooses something by data does so on a tune that is carved from the drawn items by product, as training does it
(data.splits.tune), so it learns from fewer labels; what has fixed settings learns from all of them (FIXED). Nothing is
chosen on validation, where all are measured alike: in words that training never used, balanced accuracy, mean over the
headline attributes. A method's hits are averaged over its draws item by item, and paired intervals go by product; they
say nothing of other draws, whose spread is `sd`. What was trained or answered is kept in --out and not done again, so a
part can be run at a time; every call tabulates whatever is there.

    zero_shot        the base's texts
    linear_probe     logistic regression on frozen vectors, C and balancing chosen on tune (training/probe.py)
    linear_probe_fixed   the same at its defaults
    tip_adapter_f    tip_adapter.py, alpha and beta chosen on tune; tip_adapter_f_fixed: those of its training
    value_vectors    learned on frozen vectors, not mixed with texts: what ours starts with
    clip_lora        recipes.py; its epochs are as many as --passes allow, where the paper has 16,000 passes a label
    ours             the config as it is; ours_vectors, ours_texts: the same run's value vectors and texts, each alone
"""

import argparse
import functools
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import numpy as np
import torch
from item_views import View
from machine import publish
from recipes import picture_passes, recipe
from tip_adapter import fit as fit_tip
from trials import Trials

from clipadapt import keyed
from clipadapt.atomic import atomic_write
from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import Splits, carve, load_split
from clipadapt.errors import ClipadaptError, ConfigError
from clipadapt.inputs import resolve
from clipadapt.recognition.accuracy import MIN_ITEMS, accuracies, offered
from clipadapt.recognition.predict import Predictions, recognise
from clipadapt.recognition.values import Classifier, HeldOutWording, Wording, head_classifier
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import Cell, difference, interval
from clipadapt.statistics.evidence import ClassMeans
from clipadapt.statistics.rows import HEADLINE
from clipadapt.statistics.sampling import Sampler
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.value_vectors import Cloud, Learned, ValueVectors
from clipadapt.training.labels import labels_of
from clipadapt.training.probe import fit_probe
from clipadapt.training.value_vectors import learn

OURS = "ours"
VARIANTS: Mapping[str, float | None] = {OURS: None, "ours_vectors": 1.0, "ours_texts": 0.0}
"""Share of value vectors in the mixture; None: the one that tune chose."""
START = "value_vectors"
"""What ours begins with: on frozen pictures, of all items of a draw."""
FIXED = ("linear_probe_fixed", "tip_adapter_f_fixed", "value_vectors")
FROZEN = ("zero_shot", "linear_probe", "tip_adapter_f", *FIXED)
"""Methods that train no tower."""
NAMES = (*FROZEN, "clip_lora", OURS)
MOST_DRAWS = 64
"""That are looked for when all that is there is tabulated."""
Answers = Mapping[str, Sequence[bool]]
"""Attribute -> whether each labelled item of validation was recognised."""


def drawn(catalogue: Catalogue, attributes: Sequence[str], count: int, *, seed: int, draw: int) -> Catalogue:
    """The items that keep a label, `count` of each value, without the other labels of these attributes.

    Values are drawn apart from each other, by the item's id: the items of a smaller count are among those of a larger.
    """
    known = {}
    for attribute in attributes:
        of: dict[str, list[int]] = {}
        for row, value in enumerate(catalogue.values(attribute)):
            if value is not None:
                of.setdefault(value, []).append(row)
        known[attribute] = np.zeros(len(catalogue), bool)
        for rows in of.values():
            rows.sort(key=lambda row: keyed.integer(seed, "few labels", draw, attribute, catalogue.ids[row]))
            known[attribute][rows[:count]] = True
    some = np.flatnonzero(np.any(list(known.values()), axis=0))
    return catalogue.subset(some).with_known({name: stays[some] for name, stays in known.items()})


class Few(Trials):
    """Every method's trials, one for each count and draw."""

    def __init__(self, config: Config, out: Path, *, passes: int, views: int) -> None:
        super().__init__(config, out, VectorCache(out / "vectors"))
        self.passes = passes
        self.views = views
        self._views: dict[int, VectorCache] = {}
        self.attributes = config.eval.headline or tuple(config.data.kinds())
        self.whole = load_split(config.data, config.data.splits.train).permitted("train")
        self.validation = self.splits(config.seed).validation
        self.words = HeldOutWording(self.prompts)
        if isinstance(config.data.splits.tune, str):
            raise ConfigError(f"data.splits.tune {config.data.splits.tune!r}: few labels are cut by a share; name one")
        self.share = config.data.splits.tune

    @functools.cached_property
    def base(self) -> TorchEncoder:
        """The unadapted model."""
        found = load(self.config.model.name, image_size=self.config.model.image_size)
        assert isinstance(found, TorchEncoder)
        return found

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one object for the whole program
    def few(self, count: int, draw: int) -> Catalogue:
        """All items of a draw."""
        return drawn(self.whole, self.attributes, count, seed=self.config.seed, draw=draw)

    def cut(self, count: int, draw: int) -> Splits:
        """The same with tune carved from them."""
        train, tune = carve(self.few(count, draw), self.share, draw, purpose="tune")
        return Splits(train, self.validation, tune)

    def items(self, counts: Iterable[int]) -> dict[int, int]:
        """Count -> items of the first draw."""
        return {count: len(self.few(count, 0)) for count in counts}

    def offered(self, attribute: str) -> list[str]:
        """Values that are told apart on validation."""
        return offered(self.validation.counts(attribute), MIN_ITEMS)

    def predictions(self, scores: Mapping[str, np.ndarray]) -> list[Predictions]:
        """Of validation, from the scores of the offered values of each attribute."""
        found = []
        for attribute, some in scores.items():
            values, sets = self.offered(attribute), self.validation.value_sets(attribute)
            found.append(recognise(attribute, values, sets, {"": some}, {"": Classifier.cosine(np.eye(len(values)))}))
        return found

    def answers(self, name: str, count: int, draw: int) -> Answers | None:
        """Those that are kept; None where there are none in these words."""
        file = self._file(name, count, draw)
        kept = json.loads(file.read_text()) if file.exists() else {}
        return kept["hits"] if kept.get("prompts") == self.prompts.digest else None

    def answer(self, name: str, count: int, draw: int) -> None:
        """Trains and answers what is not there yet."""
        names = tuple(VARIANTS) if name == OURS else (name,)
        if all(self.answers(one, count, draw) is not None for one in names):
            return
        encoder = self.base if name in FROZEN else self.adapted(name, count, draw)
        for one in names:
            found = self.predictions(self.scores(one, encoder, count, draw))
            figure = accuracies(found, None, MIN_ITEMS)["balanced_accuracy"].mean("")
            print(f"{one}, {count} a value, draw {draw}: {figure:.4f}", flush=True)
            kept = {"prompts": self.prompts.digest, "hits": {some.attribute: some.hit[""].tolist() for some in found}}
            file = self._file(one, count, draw)
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(file, json.dumps(kept) + "\n")

    def adapted(self, name: str, count: int, draw: int) -> Encoder:
        """The encoder of a run, trained if it is not there."""
        splits = self.cut(count, draw)
        items = len(splits.train)
        made = recipe(name, self.config, items=items, passes=self.passes, balance=None, rate=None)
        place = str(self.out / name / f"{count}-draw{draw}")
        config = made.model_copy(update={"seed": draw, "output_dir": place})
        inputs = resolve(config=config).with_splits(splits)
        self.train(config, passes=picture_passes(name, config, items=items), inputs=inputs)
        return load(f"run:{place}")

    def scores(self, name: str, encoder: Encoder, count: int, draw: int) -> dict[str, np.ndarray]:
        """Attribute -> what a method says of the offered values for each picture of validation, [n, v]."""
        pictures = self.vectors.pictures(encoder, self.validation, progress=False)
        if name.startswith("tip_adapter"):
            return {one: self._tip(name, one, count, draw, pictures) for one in self.attributes}
        head, known = None, None
        if name.startswith("linear_probe"):
            head = self._probe(name, count, draw)
        elif name == "value_vectors":
            known = self._value_vectors(count, draw)
        elif name in VARIANTS:
            known = getattr(encoder, "value_vectors", None)
        found = {}
        for attribute in self.attributes:
            values = self.offered(attribute)
            if head is not None:
                classifier = head_classifier(head, attribute, values)
            else:
                texts = self.vectors.values(encoder, self.words, attribute, values, share=0.0)
                mixed = texts if known is None else known.mixed(attribute, values, texts, VARIANTS.get(name))
                classifier = Classifier.cosine(mixed)
            found[attribute] = classifier.scores(pictures)
        return found

    def _probe(self, name: str, count: int, draw: int) -> LinearHead:
        splits = self.cut(count, draw)
        some = self.few(count, draw) if name in FIXED else splits.train
        values = {one: sorted(some.counts(one)) for one in self.attributes}
        fitted = self._known(some, values)
        tuned = self._known(splits.tune.subset([]) if name in FIXED else splits.tune, values)
        return fit_probe(values, fitted, tuned, image_space=self.base.image_space)

    def _known(
        self, catalogue: Catalogue, attributes: Iterable[str]
    ) -> tuple[np.ndarray, dict[str, Sequence[str | None]]]:
        """The base's vectors of the items, and their labels."""
        pictures = self.vectors.pictures(self.base, catalogue, progress=False)
        return pictures, {name: catalogue.values(name) for name in attributes}

    def _value_vectors(self, count: int, draw: int) -> ValueVectors:
        """Learned on the base's vectors of all items of a draw."""
        some, loss = self.few(count, draw), self.config.loss
        pictures = self.vectors.pictures(self.base, some, progress=False)
        weights = {one.name: float(one.name in self.attributes) for one in some.attributes}
        labels = labels_of(some, weights)
        learned = learn(
            labels, torch.from_numpy(pictures), seed=draw, search=loss.search,
            scale=self.base.scale if loss.scale is None else loss.scale, tau=loss.logit_adjustment,
        )  # fmt: skip
        found = {one.attribute: Learned(tuple(one.values), learned[one.attribute].numpy(), 1.0) for one in labels}
        return ValueVectors(found, self.base.image_space, {}, Cloud.of(pictures))

    def _tip(self, name: str, attribute: str, count: int, draw: int, pictures: np.ndarray) -> np.ndarray:
        splits = self.cut(count, draw)
        some = self.few(count, draw) if name in FIXED else splits.train
        values = self.offered(attribute)
        values += [one for one in self.few(count, draw).counts(attribute) if one not in values]

        def of(catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
            labels = catalogue.values(attribute)
            rows = np.array([row for row, label in enumerate(labels) if label is not None], np.int64)
            return rows, np.array([values.index(str(labels[row])) for row in rows], np.int64)

        def texts(words: Wording) -> np.ndarray:
            return self.vectors.values(self.base, words, attribute, values, share=0.0)

        rows, labels = of(some)
        views = np.stack([self.view(some.subset(rows), number) for number in range(1, self.views + 1) or (0,)])
        model = fit_tip(views, labels, texts(self.prompts), scale=self.base.scale, seed=draw)
        if name not in FIXED:
            rows, labels = of(splits.tune)
            tuned = self.vectors.pictures(self.base, splits.tune.subset(rows), progress=False)
            model = model.tuned(tuned, labels, texts(self.words))
        return model.scores(pictures, texts(self.words))[:, : len(self.offered(attribute))]

    def view(self, catalogue: Catalogue, number: int) -> np.ndarray:
        """Vectors of one view of each item by the base: 0 is the plain one, the others are augmented."""
        if not number:
            return self.vectors.pictures(self.base, catalogue, progress=False)
        cache = self._views.setdefault(number, VectorCache(self.out / "views" / str(number)))
        shown = catalogue.with_prepared(View(catalogue, self.base.preprocess, number), np.arange(len(catalogue)))
        return cache.pictures(self.base, shown, progress=False)

    def _file(self, name: str, count: int, draw: int) -> Path:
        made = f"{name}-views{self.views}" if name.startswith("tip_adapter") else name
        return self.out / "answers" / f"{made}-{count}-draw{draw}.json"


class Table:
    """What the answers that are there say."""

    def __init__(self, few: Few) -> None:
        self._few = few
        suite = few.suite
        self._statistics = suite.statistics
        self._sampler = Sampler.of(few.validation.products, suite.statistics)
        blank = {one: np.zeros((len(few.validation), len(few.offered(one))), np.float32) for one in few.attributes}
        self._blank = few.predictions(blank)

    def count(self, count: int, draws: int) -> dict[str, Any]:
        """The figures of one count: each method's, and ours and its start minus each on the draws that both have."""
        kept = {name: self._kept(name, count, draws) for name in (*NAMES, *VARIANTS)}
        found: dict[str, Any] = {"methods": {name: self._method(of) for name, of in kept.items() if of}}
        return found | {f"{mine}_minus": self._minus(mine, kept) for mine in (OURS, START)}

    def _method(self, answers: Mapping[int, Answers]) -> dict[str, Any]:
        """Mean over the draws with its interval by product, their standard deviation, and each attribute's mean."""
        of = [self._evidence({"": one})[0].mean("") for one in answers.values()]
        bounds = interval(self._cell({"": list(answers.values())}), "", self._sampler, self._statistics)
        own = {a: round(mean(self._evidence({"": one}, a)[0].mean("") for one in answers.values()), 4)
               for a in self._few.attributes}  # fmt: skip
        sides = {name: None if one is None else round(one, 4) for name, one in bounds._asdict().items()}
        return {**sides, "sd": round(pstdev(of), 4), "draws": len(of), "attributes": own}

    def _minus(self, mine: str, kept: Mapping[str, Mapping[int, Answers]]) -> dict[str, Any]:
        """Method -> one of ours minus it, on the draws that both have."""
        found: dict[str, Any] = {}
        for name, answers in kept.items():
            both = sorted(kept[mine].keys() & answers.keys())
            if both and name not in (*VARIANTS, mine):
                sides = ([of[one] for one in both] for of in (kept[mine], answers))
                found[name] = {**self._difference(*sides), "draws": len(both)}
        return found

    def _kept(self, name: str, count: int, draws: int) -> dict[int, Answers]:
        found = {draw: self._few.answers(name, count, draw) for draw in range(draws)}
        return {draw: answers for draw, answers in found.items() if answers is not None}

    def _evidence(self, systems: Mapping[str, Answers], attribute: str | None = None) -> tuple[ClassMeans, int]:
        """(balanced accuracy, products that it rests on) of the headline, or of one attribute."""
        filled = [
            one._replace(hit={name: np.array(answers[one.attribute], bool) for name, answers in systems.items()})
            for one in self._blank
            if attribute in (None, one.attribute)
        ]
        evidence = accuracies([one._replace(right=one.hit) for one in filled], None, MIN_ITEMS)["balanced_accuracy"]
        return evidence, self._sampler.products(evidence.rows)

    def _cell(self, sides: Mapping[str, Sequence[Answers]]) -> Cell:
        """The headline of some methods, an item's hits averaged over each one's draws."""
        systems = {f"{side}/{draw}": one for side, draws in sides.items() for draw, one in enumerate(draws)}
        evidence, products = self._evidence(systems)
        means = {
            side: np.mean([evidence.scores[f"{side}/{draw}"] for draw in range(len(draws))], axis=0)
            for side, draws in sides.items()
        }
        about = (HEADLINE, None, None, "all", "balanced_accuracy", None)
        return Cell(*about, len(evidence.rows), products, evidence._replace(scores=means))

    def _difference(self, ours: Sequence[Answers], others: Sequence[Answers]) -> dict[str, float | None]:
        """Ours minus another, with the paired interval by product."""
        row = difference(self._cell({"a": ours, "b": others}), ("a", "b"), self._sampler, self._statistics)
        figures = {"delta": row.delta, "low": row.delta_low, "high": row.delta_high, "p": row.p}
        return {name: None if value is None else round(value, 4) for name, value in figures.items()}


def main() -> None:
    """Trains and answers what is missing, tabulates all that is there, writes the results and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/fashion_small.yaml")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES), metavar="NAME")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--draws", type=int, default=5, help="of each method of --only: 0, 1, ...")
    parser.add_argument("--passes", type=int, default=16_000, help="most picture passes of a run of clip_lora")
    parser.add_argument("--views", type=int, default=10, help="in the cache of tip_adapter_f; 0: the plain picture")
    parser.add_argument("--out", type=Path, default=Path("runs/few_labels"))
    parser.add_argument("overrides", nargs="*", help="keys of the config, KEY=VALUE")
    parser.add_argument("--name", default="few_labels", help="of the file in eval/results")
    arguments = parser.parse_args()
    config = Config.load(arguments.config, arguments.overrides)
    few = Few(config, arguments.out, passes=arguments.passes, views=arguments.views)
    failed: dict[str, str] = {}
    for draw, count in itertools.product(range(arguments.draws), arguments.counts):
        for name in arguments.only:
            try:
                few.answer(name, count, draw)
            except ClipadaptError as error:
                failed[f"{name}, {count} a value, draw {draw}"] = str(error)
    table = Table(few)
    counts = {count: table.count(count, MOST_DRAWS) for count in arguments.counts}
    settings = {"config": arguments.config, "tune": few.share, "views": few.views, "fixed": FIXED}
    settings |= {"overrides": arguments.overrides, "passes": few.passes, "items": few.items(counts)}
    publish(arguments.name, headline(counts), {"settings": settings, "failed": failed, "counts": counts})


def headline(counts: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Of each count the best beside ours, and what ours and its start are below, also beyond what chance explains."""
    found: dict[str, Any] = {}
    for count, of in counts.items():
        means = {name: one["mean"] for name, one in of["methods"].items()}
        others = {name: figure for name, figure in means.items() if name not in VARIANTS}
        best = max(others, key=lambda name: others[name], default=None)
        found[str(count)] = {"best_other": best, "other": means.get(best or "")}
        for mine in (OURS, START):
            minus = of[f"{mine}_minus"]
            below = [name for name, one in minus.items() if one["delta"] < 0]
            surely = [name for name in below if (minus[name]["high"] or 0.0) < 0]
            found[str(count)][mine] = {"mean": means.get(mine), "below": below, "surely_below": surely}
    return {"counts": found}


if __name__ == "__main__":
    main()
