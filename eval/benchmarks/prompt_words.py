"""What words achieve on real photos, untrained: one template, an ensemble, descriptions, weights, random words.

    python eval/benchmarks/prompt_words.py --source FOLDER --model MODEL [--prompts prompts/fashion.yaml]

Balanced accuracy on validation over values with at least five items, each arm paired with the one template, intervals
clustered by product. Weights are fitted on tune, carved from train by product, without labels and with: once as they
come out, and once only where they gained out of fold on tune, as `clipadapt prompts weigh` writes them. `against` holds
the comparisons between arms that say where a gain comes from: averaging, words, descriptions or weights. Pictures are
encoded once and kept; about ten minutes on 2 cores the first time.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from machine import publish

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.metrics.intervals import Interval
from clipadapt.places import default_folder
from clipadapt.prompt_scoring.random_words import controls
from clipadapt.prompt_scoring.table import (
    Ensemble,
    LabelledPictures,
    PromptScorer,
    ScorableItems,
    joined,
    plain_of,
    without,
)
from clipadapt.prompt_scoring.weigh import Method, weigh
from clipadapt.prompts import Prompts
from clipadapt.prompts.weights import reweighed
from clipadapt.prompts.wording import Text
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.load import load

ATTRIBUTES = ("Pattern", "Fabric", "Sleeve Length", "Neck", "Fit")
BASE = "one template"
COMPARED = (
    ("described", "ensemble"),
    ("described", "random words"),
    ("weighted without labels", "described"),
    ("weighted with labels", "described"),
)


def main() -> None:
    """Measures, writes eval/results/prompt_words.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--source", required=True, help="catalogue with train and validation")
    parser.add_argument("--model", required=True, help="MODEL whose towers judge")
    parser.add_argument("--attribute", action="append", help="may be repeated; default: the five of the headline")
    parser.add_argument("--name", default="prompt_words", help="of the file in eval/results")
    arguments = parser.parse_args()
    text = Path(arguments.prompts).read_text(encoding="utf-8")
    attributes = tuple(arguments.attribute or ATTRIBUTES)
    encoder = load(arguments.model)
    cache = VectorCache(default_folder() / "vectors")
    splits = load_splits(Data(source=arguments.source, attributes=attributes), 0)

    def scorer(catalogue: Catalogue) -> PromptScorer:
        labelled = LabelledPictures.of(catalogue, cache.pictures(encoder, catalogue), attributes)
        return PromptScorer(labelled, lambda texts: cache.texts(encoder, texts))

    prompts, tune, judged = Prompts.parse(text), scorer(splits.tune), scorer(splits.validation)
    arms = arms_of(prompts)
    fitted: dict[str, Any] = {}
    methods: tuple[Method, ...] = ("no_labels", "labels")
    for method in methods:
        found = weigh(tune, prompts, method, encoder.scale)
        fitted[method] = [one.__dict__ | {"gain": one.gain._asdict(), "claimed": one.claimed} for one in found]
        for claimed in (False, True):
            kept = {one.attribute: one.after for one in found if one.claimed or not claimed}
            weighted = reweighed(text, kept, split="tune", fingerprint=tune.labelled.fingerprint)
            name = f"weighted {'with' if method == 'labels' else 'without'} labels{', where it gained' * claimed}"
            arms[name] = [Prompts.parse(weighted).ensemble]
    rows, against = measure(judged, arms)
    headline = {name: round(rows[name]["mean"]["accuracy"]["mean"], 4) for name in rows}
    publish(arguments.name, headline, {"arms": rows, "against": against, "weights": fitted, "scale": encoder.scale})


def arms_of(prompts: Prompts) -> dict[str, list[Ensemble]]:
    """Arm -> ensembles whose scores are averaged."""

    def undescribed(attribute: str, value: str) -> list[Text]:
        entries = prompts.wording(attribute).templates
        texts = prompts.ensemble(attribute, value)
        for number, entry in enumerate(entries):
            if any(field.name == "description" for field in entry.what.fields):
                texts = without(texts, number)
        return texts

    def random(replicate: int) -> Ensemble:
        return lambda attribute, value: controls(prompts.ensemble(attribute, value), replicate)

    return {
        BASE: [plain_of(prompts)],
        "ensemble": [undescribed],
        "described": [prompts.ensemble],
        "random words": [random(replicate) for replicate in range(8)],
    }


def measure(scorer: PromptScorer, arms: Mapping[str, list[Ensemble]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each arm's balanced accuracy and its paired difference to the one template, per attribute and on average.

    And the mean paired differences of `COMPARED`.
    """
    scorable = {
        name: part for name in scorer.labelled.values if isinstance(part := scorer.scorable(name), ScorableItems)
    }
    right = {arm: {name: _right(scorer, name, scorable[name], arms[arm]) for name in scorable} for arm in arms}

    everything = joined([*scorable.values()])

    def gain(one: str, other: str) -> tuple[dict[str, Interval], Interval]:
        """Per attribute, and on average."""
        each = {name: right[one][name] - right[other][name] for name in scorable}
        own = {name: part.sample.difference(each[name]) for name, part in scorable.items()}
        return own, everything.difference(np.concatenate([*each.values()]))

    rows: dict[str, Any] = {}
    items = sum(len(part.rows) for part in scorable.values())
    for arm in arms:
        own = {name: part.sample.interval(right[arm][name]) for name, part in scorable.items()}
        gained, on_average = gain(arm, BASE)
        rows[arm] = {name: _row(own[name], gained[name], len(part.rows)) for name, part in scorable.items()}
        rows[arm]["mean"] = _row(everything.interval(np.concatenate([*right[arm].values()])), on_average, items)
    compared = {f"{one} against {other}": gain(one, other)[1]._asdict() for one, other in COMPARED}
    return rows, compared


def _right(
    scorer: PromptScorer, name: str, scorable: ScorableItems, ensembles: list[Callable[[str, str], list[Text]]]
) -> np.ndarray:
    found = [
        scorer.right(name, scorable, [ensemble(name, value) for value in scorable.values]) for ensemble in ensembles
    ]
    return np.mean(found, axis=0)


def _row(accuracy: Interval, gain: Interval, items: int) -> dict[str, Any]:
    return {"items": items, "accuracy": accuracy._asdict(), "against_one_template": gain._asdict()}


if __name__ == "__main__":
    main()
