"""The drift test: how often it cries wolf, and what it finds.

    python eval/benchmarks/drift.py --source FOLDER --model MODEL --category articleType --new Watches --new Kurtas

1. False alarms: reports of 3 segments and 4 windows whose products, of 1 to 6 items, are all drawn from one population
   with a fresh reference each time; how often any window of a report is below 5% after correction. Beside it the same
   with items permuted instead of products, on a part of the reports.
2. Power: 500 new items of as many products against 2,000; a tenth of them of a category that the reference lacks; or
   all of them under another white balance, or blurred. "power" is of p by itself, "power_discrepancy" of the
   kernel discrepancy alone, and "power_report" of an alarm, least sizes and all, in a report of 13 windows whose other
   12 are the three segments of 1. "alike" is no drift: 500 of 2,500 that are all of one population.
Shares have 95% intervals (Clopper and Pearson). Tries draw from the same products, so those of power are too narrow.
An item of a product is one of its own pictures' vectors, with a little noise where it has too few.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from machine import publish
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import binomtest

from clipadapt.data.catalogue import Catalogue
from clipadapt.deploy.drift.measure import LEAST_CLUSTER, LEAST_EFFECT
from clipadapt.keyed import generator
from clipadapt.metrics.two_samples import Compared, Grouped, clusters, compare, jointly
from clipadapt.places import default_folder
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.encode import encode_catalogue
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.load import load

SEGMENTS, WINDOWS, LEVEL = 3, 4, 0.05
REFERENCE, WINDOW = 120, 40
"""Products in a segment's reference and in each of its windows."""
NOISE = 0.05
"""Length of the noise that tells an item apart from the picture it repeats."""


class Population:
    """Vectors of real products."""

    def __init__(self, catalogues: list[Catalogue], vectors: Float[np.ndarray, "n dim"], category: str) -> None:
        self.vectors = vectors
        products = np.concatenate(
            [[f"{number} {name}" for name in one.products] for number, one in enumerate(catalogues)]
        )
        kinds = np.concatenate([one.texts(category) for one in catalogues])
        self.names, self._sizes = np.unique(products, return_counts=True)
        self._rows = np.argsort(products, kind="stable")
        self._starts = np.cumsum(self._sizes) - self._sizes
        self.kinds = kinds[self._rows[self._starts]]

    def items(
        self, names: Shaped[np.ndarray, " products"], counts: Int[np.ndarray, " products"], rng: np.random.Generator
    ) -> Float[np.ndarray, "items dim"]:
        """So many of each product, unit length."""
        place = np.repeat(np.searchsorted(self.names, names), counts)
        rows = self._rows[self._starts[place] + rng.integers(0, self._sizes[place])]
        noise = rng.standard_normal((len(rows), self.vectors.shape[1]), np.float32)
        noisy = self.vectors[rows] + noise * np.float32(NOISE / np.sqrt(self.vectors.shape[1]))
        return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)


def main() -> None:
    """Measures, writes eval/results/drift.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="catalogue with train and validation")
    parser.add_argument("--model", required=True)
    parser.add_argument("--category", required=True, help="column whose values are categories")
    parser.add_argument("--new", action="append", required=True, help="a category that comes new; may be repeated")
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--others", type=int, default=50, help="reports with items as the units")
    parser.add_argument("--tries", type=int, default=100, help="of each kind of drift")
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--no-looks", action="store_true", help="new categories alone; no picture is encoded anew")
    parser.add_argument("--keep", type=Path, help="folder of answers, from which a broken-off run goes on")
    parser.add_argument("--name", default="drift", help="of the file in eval/results")
    arguments = parser.parse_args()
    encoder = load(arguments.model)
    catalogues = [Catalogue.load(arguments.source, split) for split in ("train", "validation")]
    cache = VectorCache(default_folder() / "vectors")
    vectors = np.concatenate([cache.pictures(encoder, one) for one in catalogues])
    population = Population(catalogues, vectors, arguments.category)
    reports, permutations = arguments.reports, arguments.permutations
    each = partial(answered, arguments.keep or Path(tempfile.mkdtemp()))
    alarms = each("no drift", reports, lambda seed: alarm(population, seed, permutations, by_item=False))
    by_item = each("by item", arguments.others, lambda seed: alarm(population, seed, permutations, by_item=True))
    drifts: dict[str, dict[str, Any]] = {"alike": {}, **{f"a tenth of {new}": {"new": new} for new in arguments.new}}
    looks = {} if arguments.no_looks else LOOKS
    drifts |= {name: {"other": altered(encoder, catalogues[1], look)} for name, look in looks.items()}
    power = {}
    for name, drift in drifts.items():
        tries = each(name, arguments.tries, lambda seed, drift=drift: found(population, seed, permutations, **drift))
        shares = {key: share([one[key] for one in tries]) for key in ("power", "power_discrepancy", "power_report")}
        sizes = {key: round(float(np.mean([one[key] for one in tries])), 5) for key in ("effect", "cluster")}
        power[name] = {**shares, **sizes, "items": tries[0]["items"], "tries": arguments.tries}
    headline = {
        "reports": reports,
        "others": arguments.others,
        "false_alarms": share(alarms),
        "false_alarms_permuting_items": share(by_item),
        "power": {name: one["power"] for name, one in power.items()},
        "power_report": {name: one["power_report"] for name, one in power.items()},
    }
    sizes = {
        "segments": SEGMENTS, "windows": WINDOWS, "level": LEVEL, "permutations": permutations,
        "reference_products": REFERENCE, "window_products": WINDOW, "products": len(population.names),
    }  # fmt: skip
    publish(arguments.name, headline, {"power": power, **sizes})


def alarm(population: Population, seed: int, permutations: int, *, by_item: bool) -> bool:
    """Whether a report without drift alarms."""
    cells = calm(population, seed, permutations, by_item=by_item)
    return bool(min(one.min() for one in jointly(cells)) <= LEVEL)


def calm(population: Population, seed: int, permutations: int, *, by_item: bool = False) -> list[Compared]:
    """SEGMENTS segments without drift."""
    rng = generator(seed, "no drift")
    chosen = iter(rng.permutation(population.names))
    return [segment(population, chosen, rng, permutations, by_item=by_item) for _ in range(SEGMENTS)]


def segment(
    population: Population, chosen: Iterator[str], rng: np.random.Generator, permutations: int, *, by_item: bool
) -> Compared:
    """A reference and WINDOWS new samples of 1 to 6 items a product."""
    groups = np.repeat(np.arange(WINDOWS + 1), [REFERENCE] + [WINDOW] * WINDOWS)
    names = np.array([next(chosen) for _ in groups])
    counts = rng.integers(1, 7, len(names))
    vectors, products = population.items(names, counts, rng), np.repeat(names, counts)
    if by_item:
        products = np.arange(len(products))
    grouped = Grouped.of(vectors, products, np.repeat(groups, counts))
    return compare(grouped, permutations=permutations, rng=rng)


def found(
    population: Population, seed: int, permutations: int, *, new: str | None = None,
    other: Callable[[np.ndarray], Float[np.ndarray, "n dim"]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Whether 500 new items are told from 2,000; fewer where the population is smaller, in the same proportion."""
    live = min(500, len(population.names) // 6)
    rng = generator(seed, "drift", new or "")
    usual = rng.permutation(population.names[population.kinds != new])
    fresh = rng.permutation(population.names[population.kinds == new])[: live // 10 if new is not None else 0]
    names = np.concatenate([usual[: 4 * live], fresh, usual[4 * live : 5 * live - len(fresh)]])
    vectors = population.items(names, np.ones(len(names), np.int64), rng)
    if other is not None:
        changed = other(rng.permutation(1 << 20))[:live]
        vectors, names = np.concatenate([vectors[: 4 * live], changed]), names[: 4 * live + len(changed)]
    groups = (np.arange(len(names)) >= 4 * live).astype(np.int64)
    units = np.array([f"{at} {name}" for at, name in enumerate(names)])
    grouped = Grouped.of(vectors, units, groups)
    result = compare(grouped, permutations=permutations, rng=rng)
    nothing = {"near": grouped.near[:, :0], "whitened": np.zeros((len(names), 1))}
    alone = compare(grouped._replace(**nothing), permutations=permutations, rng=rng)
    corrected = jointly([result, *calm(population, seed, permutations)])[0][0]
    effect, cluster = float(result.effect[0]), float(clusters(grouped)[0])
    return {
        "power": bool(result.p[0] <= LEVEL),
        "power_discrepancy": bool(alone.p[0] <= LEVEL),
        "power_report": bool(corrected <= LEVEL and (effect >= LEAST_EFFECT or cluster >= LEAST_CLUSTER)),
        "effect": effect,
        "cluster": cluster,
        "items": live,
    }


def answered(folder: Path, name: str, count: int, one: Callable[[int], Any]) -> list[Any]:
    """The answer of each seed; those that lie in the folder are read, the others made and written there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("a+", encoding="utf-8") as file:
        file.seek(0)
        answers = [json.loads(line) for line in file][:count]
        for seed in range(len(answers), count):
            answers.append(one(seed))
            file.write(json.dumps(answers[-1]) + "\n")
            file.flush()
    return answers


def share(alarms: Sequence[bool]) -> dict[str, float]:
    """How often, with its interval."""
    found = binomtest(int(np.sum(alarms)), len(alarms)).proportion_ci()
    return {"mean": round(float(np.mean(alarms)), 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def warm(picture: Image.Image) -> Image.Image:
    """Another white balance: red up, blue down by a tenth."""
    pixels = np.asarray(picture.convert("RGB")) * np.array([1.1, 1.0, 0.9])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def soft(picture: Image.Image) -> Image.Image:
    """A little out of focus, and duller."""
    radius = max(picture.size) / 120
    return ImageEnhance.Contrast(picture.convert("RGB").filter(ImageFilter.GaussianBlur(radius))).enhance(0.9)


LOOKS = {"white balance": warm, "blur": soft}


class Altered(Catalogue):
    """The same items under another camera."""

    look: Callable[[Image.Image], Image.Image]

    def picture(self, index: Any) -> Image.Image:
        return self.look(super().picture(index))


def altered(
    encoder: Encoder, catalogue: Catalogue, look: Callable[[Image.Image], Image.Image], most: int = 700
) -> Callable[[np.ndarray], Float[np.ndarray, "n dim"]]:
    """Vectors of altered pictures, in an order that is handed in."""
    part = catalogue.subset(np.arange(min(len(catalogue), most)))
    part.__class__ = Altered
    part.look = staticmethod(look)  # pyright: ignore[reportAttributeAccessIssue]
    vectors = encode_catalogue(encoder, part)
    return lambda order: vectors[order[order < len(vectors)]]


if __name__ == "__main__":
    main()
