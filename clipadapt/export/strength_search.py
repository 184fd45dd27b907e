"""`--strength auto`: the strengths that recognise most on tune and lose no more than a margin of what the base knew.

    curve = find_strength("run:runs/fashion")
    export("run:runs/fashion", "open_clip", out, strength=curve)

Adapters are merged at every strength that is tried and pictures or texts encoded anew: between the ends vectors do not
lie on a line. The image tower is tried coarsely, then ever nearer to the best, for a strength costs a pass over tune's
pictures; the text tower in tenths, for it costs a few hundred texts. Every pair of the two is judged as epochs are:
balanced accuracy over the headline attributes, rare values pooled. Retention is balanced accuracy over the attributes
that are not headline ones, which the base could tell before; its mean may fall by a point, or by the narrower margin of
the suite's retention tasks, since on a tune split an interval would forbid nearly everything. A gate judges by
intervals, on validation.
Tune alone is looked at, never what is reported. Nothing here writes files.
"""

import copy
import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from clipadapt.config import Config
from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.errors import AdapterError, UsageError
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks.retention import Retention
from clipadapt.export.preparation import run_of
from clipadapt.export.strength import Curve, Figure, Point
from clipadapt.keyed import generator
from clipadapt.metrics.intervals import compared
from clipadapt.progress import track
from clipadapt.prompts import Prompts
from clipadapt.recognition.accuracy import accuracies, offered
from clipadapt.recognition.predict import recognise
from clipadapt.recognition.values import Classifier, value_vectors
from clipadapt.statistics.evidence import ClassMeans
from clipadapt.towers.encode import encode_catalogue, encode_texts_batched
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import Tower
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge

log = logging.getLogger(__name__)

PICTURES = 1_000
"""Most pictures of tune; more are drawn by a key."""
IMAGE = (0.0, 0.5, 1.0)
"""Where the image tower is tried first."""
STEPS = (0.25, 0.125)
"""How far from the best image strength it is tried then."""
TEXT = tuple(number / 10 for number in range(11))
MARGIN = 0.01
"""Where the run's suite has no retention task."""

Vectors = Mapping[str, Float[np.ndarray, "v dim"]]
"""Attribute -> vectors of its values."""


def find_strength(run: str, *, retain: Sequence[str] = (), device: str = "cpu") -> Curve:
    """Searches for a run, on its own tune split, with its own prompts and headline.

    Args:
        run: a MODEL string, run:PATH.
        retain: columns that the base can tell and must go on telling; none: the run's attributes that are not headline
            ones.

    Raises:
        UsageError: not a run, or tune has nothing to measure by.
        AdapterError: neither tower was adapted.
        ModelError, CatalogueError, PromptError, ConfigError: as loading these raises them.
    """
    settings = run_of(run).config
    splits = load_splits(settings.data, settings.seed)
    quoted, retained = _attributes(settings, splits.tune, retain)
    counts = training_counts(splits.train, splits.tune)
    counts |= {name: splits.train.counts(name) for name in retained if name not in counts}
    tune = splits.tune
    if len(tune) > PICTURES:
        tune = tune.subset(np.sort(generator(settings.seed, "strength").permutation(len(tune))[:PICTURES]))
    encoder = load(run, device=device)
    assert isinstance(encoder, TorchEncoder), "a run holds torch weights"
    return search(
        encoder,
        tune,
        Prompts.load(settings.prompts),
        counts,
        headline=quoted,
        retained=retained,
        margin=_margin(settings),
        metric=settings.eval.select_on,
        split="tune",
    )


def search(
    encoder: TorchEncoder,
    tune: Catalogue,
    prompts: Prompts,
    counts: Mapping[str, Mapping[str, int]],
    *,
    headline: Sequence[str],
    retained: Sequence[str],
    margin: float = MARGIN,
    metric: str = "balanced_accuracy",
    split: str | None = None,
    min_items: int = 1,
) -> Curve:
    """Tries strengths of both towers on a split; the encoder stays as it is.

    Args:
        counts: attribute -> value -> labelled training items, by which values are rare.
        headline: attributes to gain on.
        retained: attributes to lose nothing on.
        margin: the loss of retention that is still allowed.
        metric: what is to be largest; balanced_accuracy where tune has no labels for it, or it is a loss.
        split: what the split is called, where it was carved and bears its source's name.
        min_items: values with fewer items neither compete nor count; tune is small, so every value that it has does.

    Raises:
        UsageError: tune has no labels for the headline or the retained attributes.
        AdapterError: neither tower was adapted.
        CatalogueError: a picture is broken.
    """
    adapters = encoder.adapters
    adapted: list[Tower] = [tower for tower in ("image", "text") if adapters and adapters.digest(tower)]
    if not adapted:
        raise AdapterError(f"{encoder.name}: neither tower was adapted, so there is no strength to find")
    measure = _Measure(tune, counts, headline, retained, min_items)
    texts: dict[float, Vectors] = {}
    for strength in track(TEXT if "text" in adapted else (1.0,), label="text strengths", unit="strengths"):
        encode = functools.partial(encode_texts_batched, _at(encoder, "text", strength))
        texts[strength] = {
            name: value_vectors(prompts, name, values, encode) for name, values in measure.values.items()
        }
    scored: dict[tuple[float, float], dict[str, ClassMeans]] = {}

    def add(strengths: Iterable[float]) -> list[Point]:
        for image in sorted(set(strengths) - {place[0] for place in scored}):
            pictures = encode_catalogue(_at(encoder, "image", image), tune)
            scored.update({(image, text): measure(pictures, vectors) for text, vectors in texts.items()})
        base = scored[min(scored)]  # both grids begin at 0 where there is an adapter to turn down
        return [_point(*place, means, base, measure.products, margin) for place, means in sorted(scored.items())]

    rank = _ranking(metric)
    points = add(IMAGE if "image" in adapted else (1.0,))
    for step in STEPS if "image" in adapted else ():
        best = max(points, key=rank).image
        points = add(near for near in (best - step, best + step) if 0.0 <= near <= 1.0)
    split = split or tune.split
    known = metric if metric in points[0].figures else "balanced_accuracy"
    if known != metric:
        log.warning("strength: %s cannot be measured on %s; chosen by %s", metric, split, known)
    about = {
        "source": tune.source,
        "split": split,
        "items": len(tune),
        "products": len(set(tune.products.tolist())),
    }
    return Curve(max(points, key=rank), tuple(points), known, margin, about, tuple(headline), tuple(retained))


class _Measure:
    """Recognition on one split.

    measure(pictures, texts)     "balanced_accuracy", "top1", "rare_balanced_accuracy" where the split has rare values,
                                 and "retention"
    """

    def __init__(
        self,
        tune: Catalogue,
        counts: Mapping[str, Mapping[str, int]],
        headline: Sequence[str],
        retained: Sequence[str],
        min_items: int,
    ) -> None:
        self._counts, self._min_items = counts, min_items
        self.products = np.unique(tune.products, return_inverse=True)[1]
        self._sets = {name: tune.value_sets(name) for name in (*headline, *retained)}
        values = {name: offered(tune.counts(name), min_items) for name in self._sets}
        self.values = {name: several for name, several in values.items() if len(several) > 1}
        self._groups = {"balanced_accuracy": headline, "retention": retained}
        for what, names in self._groups.items():
            if not self.values.keys() & set(names):
                raise UsageError(
                    f"{tune.source}, split {tune.split!r}: no two labels of {', '.join(names)}, so {what} cannot be "
                    "measured; name --strength image=NUMBER,text=NUMBER"
                )

    def __call__(self, pictures: Float[np.ndarray, "n dim"], texts: Vectors) -> dict[str, ClassMeans]:
        predictions = {
            name: recognise(name, values, self._sets[name], {"": pictures}, {"": Classifier.cosine(texts[name])})
            for name, values in self.values.items()
        }
        found: dict[str, ClassMeans] = {}
        for what, names in self._groups.items():
            parts = [predictions[name] for name in names if name in predictions]
            means = accuracies(parts, self._counts, self._min_items)
            found |= means if what == "balanced_accuracy" else {what: means["balanced_accuracy"]}
        return found


def _point(
    image: float,
    text: float,
    scaled: Mapping[str, ClassMeans],
    base: Mapping[str, ClassMeans],
    products: Int[np.ndarray, " items"],
    margin: float,
) -> Point:
    figures = {name: _figure(means, base[name], products) for name, means in scaled.items()}
    retention = figures.pop("retention")
    return Point(image, text, figures, retention, within_margin=retention.delta >= -margin - 1e-9)


def _figure(scaled: ClassMeans, base: ClassMeans, products: Int[np.ndarray, " items"]) -> Figure:
    mean, of_cases = scaled.mean(""), products[scaled.rows]
    if len(np.unique(of_cases)) < 2:
        return Figure(mean, mean - base.mean(""), None, None)
    found = compared(scaled.scores[""] - base.scores[""], scaled.classes, of_cases, scaled.weights, p=1.0)
    return Figure(mean, found.delta, found.delta_low, found.delta_high)


def _ranking(metric: str) -> Callable[[Point], tuple[float, ...]]:
    """Within the margin before beyond it; then the metric, balanced accuracy, and how little is changed."""

    def rank(point: Point) -> tuple[float, ...]:
        chosen = point.figures.get(metric, point.figures["balanced_accuracy"])
        ties = round(point.figures["balanced_accuracy"].mean, 9), -point.image - point.text
        return (float(point.within_margin), round(chosen.mean, 9), *ties)

    return rank


def _at(encoder: TorchEncoder, tower: Tower, strength: float) -> TorchEncoder:
    """A copy with one tower merged at a strength; the tokenizer, which cannot always be copied, is shared."""
    tokenizer = getattr(encoder.backend, "tokenizer", None)
    made = copy.deepcopy(encoder, {} if tokenizer is None else {id(tokenizer): tokenizer})
    merge(made, {tower: strength})
    return made


def _attributes(settings: Config, tune: Catalogue, retain: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(headline, retained)."""
    exclusive = tuple(one.name for one in tune.attributes if one.kind == "exclusive")
    if unknown := [name for name in retain if name not in tune.columns]:
        raise UsageError(
            f"--retain {', '.join(unknown)}: no such column in {tune.source}; there are {', '.join(tune.columns)}"
        )
    quoted = tuple(name for name in settings.eval.headline or exclusive if name not in retain)
    retained = tuple(retain) or tuple(name for name in exclusive if name not in quoted)
    if not quoted or not retained:
        missing = "retain: every attribute is a headline one" if quoted else "gain on: every headline one is retained"
        raise UsageError(
            f"{tune.source}: there is nothing to {missing}; name a column whose values the base can tell with "
            "--retain COLUMN, or give numbers as --strength image=NUMBER,text=NUMBER"
        )
    return quoted, retained


def _margin(settings: Config) -> float:
    """The narrowest of the suite's retention tasks, MARGIN at most: a suite's own pictures may show less than tune."""
    tasks = Suite.load(settings.eval.suite).tasks if settings.eval.suite else ()
    return min([MARGIN, *(task.margin for task in tasks if isinstance(task, Retention))])
