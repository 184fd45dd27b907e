"""The level of `prompts weigh`: how often fitted weights claim a gain where labels say nothing of the pictures.

    python eval/benchmarks/prompt_shuffled.py --source FOLDER --model MODEL [--shuffles 200] [--prompts FILE]

Real pictures and the real prompts file, but the labels are dealt anew to products, so that no weights can be better
than others; every claimed gain is false. Claims are made at a level shared by all attributes: at most one shuffle in
forty may hold any. Both methods of fitting, on tune as the command does. Pictures are encoded once and kept.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import publish
from scipy import stats

from clipadapt.config import Data
from clipadapt.data.splits import load_splits
from clipadapt.keyed import generator
from clipadapt.places import default_folder
from clipadapt.prompt_scoring.table import LabelledPictures, PromptScorer
from clipadapt.prompt_scoring.weigh import Method, weigh
from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.load import load

ATTRIBUTES = ("Pattern", "Fabric", "Sleeve Length", "Neck", "Fit")
LEVEL = 0.025
"""False claims that a two-sided interval of 95% allows, over all attributes together."""


def main() -> None:
    """Measures, writes eval/results/prompt_shuffled.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--source", required=True, help="catalogue with a train split")
    parser.add_argument("--model", required=True, help="MODEL whose towers judge")
    parser.add_argument("--attribute", action="append", help="may be repeated; default: five that pictures show")
    parser.add_argument("--shuffles", type=int, default=200)
    parser.add_argument("--name", default="prompt_shuffled", help="of the file in eval/results")
    arguments = parser.parse_args()
    attributes = tuple(arguments.attribute or ATTRIBUTES)
    encoder = load(arguments.model)
    cache = VectorCache(default_folder() / "vectors")
    prompts = Prompts.parse(Path(arguments.prompts).read_text(encoding="utf-8"))
    tune = load_splits(Data(source=arguments.source, attributes=attributes), 0).tune
    real = LabelledPictures.of(tune, cache.pictures(encoder, tune), attributes)
    methods: tuple[Method, ...] = ("no_labels", "labels")
    found: dict[str, dict[str, Any]] = {method: {"any": 0, "by_attribute": {}} for method in methods}
    start = time.perf_counter()
    for shuffle in range(arguments.shuffles):
        dealt = shuffled(real, shuffle)
        for method in methods:
            weighed = weigh(
                PromptScorer(dealt, lambda texts: cache.texts(encoder, texts)),
                prompts,
                method,
                encoder.scale,
                seed=shuffle,
            )
            claimed = [one.attribute for one in weighed if one.claimed]
            found[method]["any"] += bool(claimed)
            counts = found[method]["by_attribute"]
            for one in weighed:
                counts[one.attribute] = counts.get(one.attribute, 0) + one.claimed
    allowed = int(stats.binom.ppf(0.99, arguments.shuffles, LEVEL))
    headline = {
        "shuffles": arguments.shuffles,
        "false_claims_without_labels": found["no_labels"]["any"],
        "false_claims_with_labels": found["labels"]["any"],
        "most_that_the_level_allows": allowed,
        "held": all(one["any"] <= allowed for one in found.values()),
    }
    seconds = round(time.perf_counter() - start, 1)
    sizes = {"items": len(tune), "products": len(np.unique(tune.products)), "level": LEVEL, "seconds": seconds}
    publish(arguments.name, headline, {"claims": found, **sizes})


def shuffled(real: LabelledPictures, seed: int) -> LabelledPictures:
    """The same pictures; each attribute's labels change hands between the products that have one."""
    return real._replace(
        values={name: _dealt(labels, real.products, seed, name) for name, labels in real.values.items()},
        fingerprint="",
    )


def _dealt(labels: Sequence[str | None], products: np.ndarray, seed: int, name: str) -> list[str | None]:
    first: dict[str, str] = {}
    for product, label in zip(products.tolist(), labels, strict=True):
        if label is not None:
            first.setdefault(product, label)
    order = generator(seed, "shuffled", name).permutation(len(first))
    values = list(first.values())
    other = {product: values[place] for product, place in zip(first, order.tolist(), strict=True)}
    return [None if label is None else other[product] for product, label in zip(products.tolist(), labels, strict=True)]


if __name__ == "__main__":
    main()
