"""Drift of tags: how often it cries wolf where items of a product are tagged alike, and what it finds.

    python eval/benchmarks/drift_tags.py [--reports 1000] [--products 200]

Simulated files of `clipadapt tag`, twice as many products in the reference as new ones, of 1 to 6 items. Three
attributes of 4 to 30 values that fall off as 1/rank; an item is tagged with its product's value, or with another one
time in ten; a product is hard to tag or it is not, so that its items are unsure together, and an attribute applies to
it or it does not. Nothing differs between the files, or in the new one

a value by 5, 10 points         that share of products turns into one value that few products have
unsure by 10, 20 points         that share of products more is hard to tag

1. False alarms at 5% of files without a change, over all values and states together; beside it with items as the units.
2. Power: how often a changed file alarms, and names the value or the state that changed.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from machine import publish

from clipadapt.deploy.drift.rates import Rates, compare
from clipadapt.deploy.drift.tags import read_tags
from clipadapt.keyed import generator

LEVEL = 0.05
VALUES = {"Pattern": 8, "Fit": 4, "Kind": 30}
CHANGED, RARE = "Kind", 24
"""The attribute, and the value, that about one product in a hundred has before the change."""
HARD, WRONG, ABSENT = 0.15, 0.1, 0.1
"""Shares of products that are hard to tag, of items tagged with another value, of attributes that do not apply."""


def main() -> None:
    """Measures, writes eval/results/drift_tags.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--others", type=int, default=50, help="reports with items as the units")
    parser.add_argument("--tries", type=int, default=60, help="of each change")
    parser.add_argument("--products", type=int, default=200, help="new ones; the reference has twice as many")
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--name", default="drift_tags", help="of the file in eval/results")
    arguments = parser.parse_args()
    started = time.perf_counter()
    products, permutations = arguments.products, arguments.permutations
    calm = [bool(report(seed, products, permutations).alarmed) for seed in range(arguments.reports)]
    by_item = [bool(report(seed, products, permutations, by_item=True).alarmed) for seed in range(arguments.others)]
    power = {}
    for name, sizes, named in (
        ("a value", (0.05, 0.1), (CHANGED, value(RARE))),
        ("unsure", (0.1, 0.2), (f"{CHANGED} state", "unsure")),
    ):
        for points in sizes:
            found = [report(seed, products, permutations, changes={name: points}) for seed in range(arguments.tries)]
            hits = [any((one.attribute, one.value) == named for one in rates.alarmed) for rates in found]
            power[f"{name} by {100 * points:g} points"] = round(float(np.mean(hits)), 4)
    headline = {
        "reports": arguments.reports,
        "false_alarms": round(float(np.mean(calm)), 4),
        "false_alarms_by_item": round(float(np.mean(by_item)), 4),
        "power": power,
    }
    about = {
        "new_products": products, "reference_products": 2 * products, "values": VALUES, "level": LEVEL,
        "permutations": permutations, "others": arguments.others, "tries": arguments.tries,
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    publish(arguments.name, headline, about)


def report(
    seed: int, products: int, permutations: int, *, by_item: bool = False, changes: Mapping[str, float] = {}
) -> Rates:
    """Of one pair of files."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, count, change in (("reference", 2 * products, {}), ("new", products, changes)):
            files.append(Path(folder) / f"{name}.parquet")
            pyarrow.parquet.write_table(tagged(seed, name, count, change, by_item=by_item), files[-1])
        observed = read_tags(files[1], files[0]).observed
    # The effect's bound is taken away: what is measured is the test.
    return compare(observed, of="tags", level=LEVEL, least=0.0, permutations=permutations, seed=seed)


def tagged(seed: int, name: str, products: int, changes: Mapping[str, float], *, by_item: bool) -> pa.Table:
    """What `clipadapt tag` writes of new products, but for captions."""
    rng = generator(seed, "tags", name, *(f"{what} {points}" for what, points in changes.items()))
    counts = rng.integers(1, 7, products)
    of_item = np.repeat(np.arange(products), counts)
    hard = rng.random(products) < HARD + changes.get("unsure", 0.0)
    items = np.arange(len(of_item)).astype(str)
    columns = {"product": np.char.add(f"{name} ", items if by_item else of_item.astype(str))}
    for attribute, count in VALUES.items():
        shares = 1 / np.arange(1, count + 1)
        shares /= shares.sum()
        true = rng.choice(count, products, p=shares)
        if attribute == CHANGED:
            true[rng.random(products) < changes.get("a value", 0.0)] = RARE
        wrong = rng.random(len(of_item)) < WRONG
        guesses = np.where(wrong, rng.choice(count, len(of_item), p=shares), true[of_item])
        applies = (rng.random(products) >= ABSENT)[of_item]
        unsure = (hard[of_item] & (rng.random(len(of_item)) < 0.8)) | (rng.random(len(of_item)) < 0.05)
        cells = [value(number) if there else None for number, there in zip(guesses, applies, strict=True)]
        columns[attribute] = pa.array(cells, pa.string())
        columns[f"{attribute} state"] = np.where(applies, np.where(unsure, "unsure", "sure"), "not applicable")
    return pa.table(columns)


def value(number: int) -> str:
    return f"value {number}"


if __name__ == "__main__":
    main()
