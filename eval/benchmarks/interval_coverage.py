"""Do 95% intervals hold the truth 95 times out of 100, where catalogues are hard: rare values and few products?

    python eval/benchmarks/interval_coverage.py [--worlds 3000] [--processes 1]        # about 4 minutes of one core

A world is drawn (how good two systems are at each value, how alike the photos of a product are, how many products of
how many photos each value has), data is drawn from it, and the intervals are asked whether they hold what is true of
that world. Values have 3 to 10 items when rare and 30 to 150 when common, products 1 to 6. Answers come from a latent
normal with a part shared by the photos of a product and a part shared by two systems, so truths are known exactly;
those of galleries are means over worlds of equal parameters.

Scenarios fall in two kinds. In the plain ones the correlation within products varies from world to world between 0 and
0.8 (latent), or can be told from the data. In the `stress` ones it is fixed at an extreme that hardly any data speaks
of, or a yes/no answer is nearly always no, so that coverage moves in steps: no method knows better there, and the
figures say by how much ours is off. The percentile bootstrap over products stands beside as what is commonly done.

Prints one JSON object on its last line; the whole result goes to eval/results/interval_coverage.json.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
from scipy.stats import norm

from clipadapt.metrics.gallery import Query, gallery_interval, paired_gallery
from clipadapt.metrics.intervals import balanced_interval, paired_balanced

RESULTS = Path(__file__).parents[1] / "results" / "interval_coverage.json"
SWAPS = 199
"""Of each permutation test: its level is right at any number."""


@dataclass(frozen=True)
class Scenario:
    """What worlds are drawn from."""

    stress: bool = False
    correlation: tuple[float, float] = (0.0, 0.8)
    """Latent, within products; drawn once per world."""
    photos: tuple[int, int] = (1, 6)
    """Per product."""


@dataclass(frozen=True)
class Values(Scenario):
    """Recognition: balanced accuracy over rare values, or over all."""

    rare: tuple[int, int] = (2, 8)
    common: int = 3
    """Common values beside the rare: they tell how alike photos of a product are."""
    recall: tuple[float, float] | None = None
    """Beta parameters of a rare value's recall; None: uniform from 0.1 to 0.9."""
    over: str = "rare"
    mixed: bool = False
    """Photos of one product differ in value."""
    common_items: tuple[int, int] = (30, 150)


@dataclass(frozen=True)
class Queries(Scenario):
    """Queries that come in products: the mean of a score per query."""

    score: str = "average precision"
    products: tuple[int, int] = (5, 12)
    level: tuple[float, float] = (-1.0, 1.0)
    """Latent mean: -1 to 1 gives scores around 0.3 to 0.7, -4 to -2 almost always 0."""
    scatter: float = 1.5
    """Latent spread: 1.5 gives scores from 0 to 1, 0.3 scores close together."""


@dataclass(frozen=True)
class Gallery(Scenario):
    """Average precision of value queries over a gallery of products."""

    rare: int = 3
    common: int = 3
    over: str = "rare"
    correlation: tuple[float, float] = (0.0, 0.7)


WEAK, STRONG = (0.5, 5.0), (9.0, 1.0)
SCENARIOS: dict[str, Scenario] = {
    "rare values": Values(),
    "rare values, nearly never right": Values(recall=WEAK),
    "rare values, nearly always right": Values(recall=STRONG),
    "one rare value": Values(rare=(1, 1)),
    "rare values, photos unrelated": Values(correlation=(0.0, 0.0)),
    "rare values, photos much alike": Values(correlation=(0.8, 0.8)),
    "rare values, six photos each": Values(photos=(6, 6)),
    "rare values, one photo each": Values(photos=(1, 1)),
    "rare values, products of mixed values": Values(mixed=True),
    "rare values, common ones of 12 to 30 items": Values(common_items=(12, 30)),
    "all values": Values(over="all"),
    "all values, rare ones nearly never right": Values(over="all", recall=WEAK),
    "rare values alone": Values(common=0),
    "rare values alone, nearly never right": Values(common=0, recall=WEAK),
    "rare values alone, nearly always right": Values(common=0, recall=STRONG),
    "20 rare values alone": Values(common=0, rare=(20, 20)),
    "AP, 5 to 12 products": Queries(),
    "P@10, 5 to 12 products": Queries(score="precision"),
    "P@1, 5 to 12 products": Queries(score="hit"),
    "AP near 0, 5 to 12 products": Queries(level=(-4.0, -2.0)),
    "AP close together, 5 to 12 products": Queries(scatter=0.3),
    "AP, 5 to 12 products of six": Queries(photos=(6, 6)),
    "AP, 5 to 12 products of one": Queries(photos=(1, 1)),
    "AP, 15 to 60 products": Queries(products=(15, 60)),
    "P@10, 15 to 60 products": Queries(score="precision", products=(15, 60)),
    "P@1, 15 to 60 products": Queries(score="hit", products=(15, 60)),
    "AP near 0, 15 to 60 products": Queries(level=(-4.0, -2.0), products=(15, 60)),
    "AP, 15 to 60 products, photos much alike": Queries(products=(15, 60), correlation=(0.8, 0.8)),
    "gallery AP, rare values": Gallery(),
    "gallery AP, all values": Gallery(over="all"),
    "gallery AP, eight rare values": Gallery(rare=8),
    "stress: rare values alone, photos unrelated": Values(True, (0.0, 0.0), common=0),
    "stress: rare values alone, photos much alike": Values(True, (0.8, 0.8), common=0),
    "stress: AP, 5 to 12 products, photos unrelated": Queries(True, (0.0, 0.0)),
    "stress: AP, 5 to 12 products, photos much alike": Queries(True, (0.8, 0.8)),
    "stress: AP, 15 to 60 products, photos unrelated": Queries(True, (0.0, 0.0), products=(15, 60)),
    "stress: P@1 near 0, 5 to 12 products": Queries(True, score="hit", level=(-3.0, -2.0)),
    "stress: gallery AP, one rare value": Gallery(True, rare=1),
}


class World(NamedTuple):
    """Data of two systems on the same items, and what is true of them."""

    scores: tuple[np.ndarray, np.ndarray]
    classes: np.ndarray
    products: np.ndarray
    weights: np.ndarray
    truths: tuple[float, float]


@dataclass
class Tally:
    """Counts over worlds."""

    worlds: int = 0
    covered: int = 0
    width: float = 0.0
    covered_delta: int = 0
    width_delta: float = 0.0
    covered_bootstrap: int = 0
    rejected: int = 0
    excluded: int = 0
    detected: list[float] = field(default_factory=list)


def split(generator: np.random.Generator, items: int, photos: tuple[int, int]) -> list[int]:
    """Products of `photos` items each until the items are used up."""
    sizes: list[int] = []
    while items:
        sizes.append(min(items, int(generator.integers(photos[0], photos[1] + 1))))
        items -= sizes[-1]
    return sizes


def split_up(generator: np.random.Generator, items: int) -> list[int]:
    """The same into two products at least, for one alone has no interval."""
    while len(sizes := split(generator, items, (1, 6))) < 2:
        pass
    return sizes


def latent(generator: np.random.Generator, products: np.ndarray, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal per item for two systems, correlated within products and between the systems."""
    count, common, shared = int(products.max()) + 1, generator.normal(size=len(products)), 0.7
    between = generator.normal(size=count)
    both = []
    for _ in range(2):
        product = np.sqrt(shared) * between + np.sqrt(1 - shared) * generator.normal(size=count)
        item = np.sqrt(0.4) * common + np.sqrt(0.6) * generator.normal(size=len(products))
        both.append(np.sqrt(correlation) * product[products] + np.sqrt(1 - correlation) * item)
    return both[0], both[1]


def draw_values(generator: np.random.Generator, scenario: Values, null: bool) -> World:
    """Right or wrong of every item."""
    rare = int(generator.integers(scenario.rare[0], scenario.rare[1] + 1))
    low, high = scenario.common_items
    items = [int(n) for n in (*generator.integers(3, 11, rare), *generator.integers(low, high + 1, scenario.common))]
    classes = np.repeat(np.arange(len(items)), items)
    if scenario.mixed:
        generator.shuffle(classes)
        sizes = split(generator, len(classes), scenario.photos)
    else:
        sizes = [size for count in items for size in split(generator, count, scenario.photos)]
    products = np.repeat(np.arange(len(sizes)), sizes)
    beta = scenario.recall
    own = generator.uniform(0.1, 0.9, rare) if beta is None else generator.beta(*beta, size=rare)
    recall = np.concatenate([own, generator.uniform(0.5, 0.9, scenario.common)])
    other = recall if null else np.clip(recall + generator.uniform(-0.2, 0.2, len(recall)), 0.01, 0.99)
    noise = latent(generator, products, generator.uniform(*scenario.correlation))
    counted = np.arange(len(items)) < (rare if scenario.over == "rare" else len(items))
    weights = counted / counted.sum()
    first, second = (
        (norm.ppf(p)[classes] + part > 0).astype(np.float64) for p, part in zip((recall, other), noise, strict=True)
    )
    return World((first, second), classes, products, weights, (float(weights @ recall), float(weights @ other)))


def draw_queries(generator: np.random.Generator, scenario: Queries, null: bool) -> World:
    """A score per query."""
    count = int(generator.integers(scenario.products[0], scenario.products[1] + 1))
    sizes = generator.integers(scenario.photos[0], scenario.photos[1] + 1, count)
    products = np.repeat(np.arange(count), sizes)
    level = generator.uniform(*scenario.level)
    levels = (level, level if null else level + generator.uniform(-0.8, 0.8))
    noise = latent(generator, products, generator.uniform(*scenario.correlation))
    scores = [norm.cdf(mean + scenario.scatter * part) for mean, part in zip(levels, noise, strict=True)]
    if scenario.score != "average precision":
        places = 10 if scenario.score == "precision" else 1
        scores = [generator.binomial(places, score) / places for score in scores]
    truths = [float(norm.cdf(mean / np.sqrt(1 + scenario.scatter**2))) for mean in levels]
    return World((scores[0], scores[1]), np.zeros_like(products), products, np.ones(1), (truths[0], truths[1]))


def count_world(tally: Tally, world: World, null: World, seed: int) -> None:
    """Asks the intervals about a world, and the tests about one without difference."""
    (ours, theirs), truths = world.scores, world.truths
    about = (world.classes, world.products, world.weights)
    found = balanced_interval(ours, *about)
    difference = paired_balanced(ours, theirs, *about, draws=SWAPS, seed=seed)
    low, high = percentiles(world, seed)
    nothing = paired_balanced(*null.scores, null.classes, null.products, null.weights, draws=SWAPS, seed=seed)
    tally.worlds += 1
    tally.covered += found.low <= truths[0] <= found.high
    tally.width += found.high - found.low
    tally.covered_delta += difference.delta_low <= truths[0] - truths[1] <= difference.delta_high
    tally.width_delta += difference.delta_high - difference.delta_low
    tally.detected.append(difference.minimum_detectable)
    tally.covered_bootstrap += low <= truths[0] <= high
    tally.rejected += nothing.p <= 0.05
    tally.excluded += not nothing.delta_low <= 0 <= nothing.delta_high


def percentiles(world: World, seed: int, draws: int = 400) -> tuple[float, float]:
    """The plain percentile Bayesian bootstrap over products, for comparison."""
    weights = np.random.default_rng(seed).exponential(size=(draws, int(world.products.max()) + 1))
    shape = (weights.shape[1], len(world.weights))
    cells = world.products * shape[1] + world.classes
    sums, items = (
        np.bincount(cells, part, minlength=shape[0] * shape[1]).reshape(shape)
        for part in (world.scores[0], np.ones_like(world.scores[0]))
    )
    low, high = np.quantile((weights @ sums / (weights @ items)) @ world.weights, [0.025, 0.975])
    return float(low), float(high)


def draw_gallery(
    generator: np.random.Generator, counts: np.ndarray, skill: np.ndarray, confused: np.ndarray, correlation: float
) -> tuple[list[list[Query]], np.ndarray]:
    """Rankings of a fresh gallery by two systems, for every value; products hold one value."""
    sizes = [split_up(generator, int(count)) for count in counts]
    classes = np.repeat(np.arange(len(counts)), counts)
    flat = [size for own in sizes for size in own]
    products = np.repeat(np.arange(len(flat)), flat)
    queries: list[list[Query]] = [[], []]
    for value in range(len(counts)):
        for system, part in enumerate(latent(generator, products, correlation)):
            score = part + confused[classes, value] + skill[system, value] * (classes == value)
            queries[system].append(Query(classes == value, np.argsort(-score)))
    return queries, products


def count_galleries(tally: Tally, scenario: Gallery, generator: np.random.Generator, worlds: int) -> None:
    """Galleries of one set of parameters; what is true is their mean, the second system's skill shifted."""
    values = scenario.rare + scenario.common
    counts = np.concatenate([generator.integers(3, 11, scenario.rare), generator.integers(30, 120, scenario.common)])
    skill = generator.uniform(0.3, 3.0, values) + np.stack([np.zeros(values), generator.uniform(-0.7, 0.7, values)])
    confused, correlation = generator.normal(0, 0.5, (values, values)), generator.uniform(*scenario.correlation)
    asked = slice(scenario.rare if scenario.over == "rare" else values)
    found, differences = [], []
    for number in range(worlds):
        queries, products = draw_gallery(generator, counts, skill, confused, correlation)
        found.append(gallery_interval(queries[0][asked], products))
        differences.append(paired_gallery(queries[0][asked], queries[1][asked], products, draws=SWAPS, seed=number))
        queries, products = draw_gallery(generator, counts, skill[[0, 0]], confused, correlation)
        nothing = paired_gallery(queries[0][asked], queries[1][asked], products, draws=SWAPS, seed=number)
        tally.rejected += nothing.p <= 0.05
        tally.excluded += not nothing.delta_low <= 0 <= nothing.delta_high
    mean, delta = np.mean([one.mean for one in found]), np.mean([one.delta for one in differences])
    tally.worlds += worlds
    tally.covered += sum(one.low <= mean <= one.high for one in found)
    tally.width += sum(one.high - one.low for one in found)
    tally.covered_delta += sum(one.delta_low <= delta <= one.delta_high for one in differences)
    tally.width_delta += sum(one.delta_high - one.delta_low for one in differences)
    tally.detected += [one.minimum_detectable for one in differences]


def measure(task: tuple[str, int]) -> tuple[str, dict[str, float]]:
    """One scenario."""
    name, worlds = task
    scenario, tally = SCENARIOS[name], Tally()
    generator = np.random.default_rng([7, *name.encode()])
    if isinstance(scenario, Gallery):
        for _ in range(max(1, worlds // 100)):
            count_galleries(tally, scenario, generator, min(worlds, 100))
    for seed in range(worlds if not isinstance(scenario, Gallery) else 0):
        if isinstance(scenario, Values):
            pair = (draw_values(generator, scenario, null) for null in (False, True))
        else:
            assert isinstance(scenario, Queries)
            pair = (draw_queries(generator, scenario, null) for null in (False, True))
        world, null = pair
        count_world(tally, world, null, seed)
    shares = {
        "coverage": tally.covered,
        "width": tally.width,
        "coverage_of_difference": tally.covered_delta,
        "width_of_difference": tally.width_delta,
        "test_level": tally.rejected,
        "interval_excludes_zero_under_null": tally.excluded,
    }
    result = {key: round(value / tally.worlds, 4) for key, value in shares.items()}
    if not isinstance(scenario, Gallery):
        result["coverage_of_percentile_bootstrap"] = round(tally.covered_bootstrap / tally.worlds, 4)
    return name, {"worlds": tally.worlds, **result, "minimum_detectable": round(float(np.median(tally.detected)), 4)}


def machine() -> dict[str, object]:
    """What this ran on."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def extremes(results: dict[str, dict[str, float]], key: str) -> tuple[float, float] | None:
    """Smallest and largest figure over scenarios that have it; null when none does."""
    found = [result[key] for result in results.values() if key in result]
    return (min(found), max(found)) if found else None


def outside(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Coverages that are not within 93% to 97%, by scenario and figure."""
    return {
        f"{name}: {key}": result[key]
        for name, result in results.items()
        for key in ("coverage", "coverage_of_difference")
        if not 0.93 <= result[key] <= 0.97
    }


def main() -> None:
    """Runs all scenarios, writes the result and prints its summary."""
    parser = argparse.ArgumentParser(description="Coverage of intervals and level of the paired test.")
    parser.add_argument("--worlds", type=int, default=3_000, help="per scenario")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the names of scenarios to run; nothing is written then")
    given = parser.parse_args()
    started = time.perf_counter()
    tasks = [(name, given.worlds) for name in SCENARIOS if given.only in name]
    results: dict[str, dict[str, float]] = {}
    with Pool(given.processes) as pool:
        for name, result in pool.imap(measure, tasks):
            results[name] = result
            print(f"{name:52s}" + "  ".join(f"{key} {value:g}" for key, value in result.items()), flush=True)
    plain = {name: result for name, result in results.items() if not SCENARIOS[name].stress}
    summary = {
        "benchmark": "interval_coverage",
        "worlds_per_scenario": given.worlds,
        "scenarios": len(plain),
        "outside_93_to_97": outside(plain),
        "coverage": extremes(plain, "coverage"),
        "coverage_of_difference": extremes(plain, "coverage_of_difference"),
        "test_level": extremes(results, "test_level"),
        "coverage_of_percentile_bootstrap": extremes(plain, "coverage_of_percentile_bootstrap"),
        "stress_coverage": extremes({n: r for n, r in results.items() if n not in plain} or plain, "coverage"),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if not given.only:
        parameters = {name: {"kind": type(s).__name__, **asdict(s)} for name, s in SCENARIOS.items()}
        whole = {"summary": summary, "machine": machine(), "results": results, "scenarios": parameters}
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
