"""What words achieve on real photos, untrained: one template, an ensemble, descriptions, weights, random words.

    CLIPADAPT_REAL_DATA=FOLDER python eval/benchmarks/prompt_words.py [--prompts prompts/fashion.yaml] [--model MODEL]

FOLDER holds data/fashion and models/fashion-base. Balanced accuracy on validation over values with at least five items,
each arm paired with the one template, intervals clustered by product. Weights are fitted on tune, carved from train by
product; they count where they gained out of fold there, and elsewhere the file's own stand. Pictures are encoded once
and kept; about ten minutes on 2 cores the first time.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import load_splits
from clipadapt.evaluation.prompts.paired import Difference, average
from clipadapt.evaluation.prompts.random_words import controls
from clipadapt.evaluation.prompts.recognise import without
from clipadapt.evaluation.prompts.table import Ensemble, Known, Subjects, Workshop, plain_of
from clipadapt.evaluation.prompts.weigh import Method, weigh
from clipadapt.evaluation.vectors import VectorCache, default_folder
from clipadapt.prompts import Prompts
from clipadapt.prompts.weights import reweighed
from clipadapt.prompts.wording import Text
from clipadapt.runs import environment
from clipadapt.towers.load import load

RESULTS = Path(__file__).parent.parent / "results"
ATTRIBUTES = ("Pattern", "Fabric", "Sleeve Length", "Neck", "Fit")
BASE = "one template"


def main() -> None:
    """Measures, writes eval/results/prompt_words.json and prints the headline."""
    real = Path(os.environ.get("CLIPADAPT_REAL_DATA", "."))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", default="prompts/fashion.yaml")
    parser.add_argument("--model", default=f"local-dir:{real / 'models' / 'fashion-base'}")
    parser.add_argument("--name", default="prompt_words", help="of the file in eval/results")
    arguments = parser.parse_args()
    text = Path(arguments.prompts).read_text(encoding="utf-8")
    encoder = load(arguments.model)
    cache = VectorCache(default_folder() / "vectors")
    splits = load_splits(Data(source=str(real / "data" / "fashion"), attributes=ATTRIBUTES), 0)

    def workshop(catalogue: Catalogue) -> Workshop:
        subjects = Subjects.of(catalogue, cache.pictures(encoder, catalogue), ATTRIBUTES)
        return Workshop(subjects, lambda texts: cache.texts(encoder, texts))

    prompts, tune, judged = Prompts.parse(text), workshop(splits.tune), workshop(splits.validation)
    arms = arms_of(prompts)
    fitted: dict[str, Any] = {}
    methods: tuple[Method, ...] = ("no_labels", "labels")
    for method in methods:
        found = weigh(tune, prompts, method, encoder.scale)
        fitted[method] = [one.__dict__ | {"gain": one.gain._asdict(), "claimed": one.claimed} for one in found]
        kept = {one.attribute: one.after for one in found if one.claimed}
        weighted = reweighed(text, kept, split="tune", fingerprint=tune.subjects.fingerprint)
        arms[f"weighted, {method.replace('_', ' ')}"] = [Prompts.parse(weighted).ensemble]
    rows = measure(judged, arms)
    headline = {name: rows[name]["mean"]["accuracy"]["mean"] for name in rows}
    environment_of = environment(0) | {"command": ["eval/benchmarks/prompt_words.py"]}
    result = {"headline": headline, "arms": rows, "weights": fitted, "scale": encoder.scale, "machine": environment_of}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{arguments.name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: round(figure, 4) for name, figure in headline.items()}))


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


def measure(workshop: Workshop, arms: Mapping[str, list[Ensemble]]) -> dict[str, Any]:
    """Each arm's balanced accuracy and its paired difference to the one template, per attribute and on average."""
    known = {name: part for name in ATTRIBUTES if isinstance(part := workshop.known(name), Known)}
    base = {name: _right(workshop, name, part, arms[BASE]) for name, part in known.items()}
    rows: dict[str, Any] = {}
    for arm, ensembles in arms.items():
        right = {name: _right(workshop, name, part, ensembles) for name, part in known.items()}
        own = {name: part.design.balanced(right[name]) for name, part in known.items()}
        gain = {name: part.design.balanced(right[name] - base[name]) for name, part in known.items()}
        rows[arm] = {
            name: _row(own[name].interval().share(), gain[name].interval(), len(known[name].rows)) for name in known
        }
        items = sum(len(part.rows) for part in known.values())
        rows[arm]["mean"] = _row(average([*own.values()]).interval(), average([*gain.values()]).interval(), items)
    return rows


def _right(
    workshop: Workshop, name: str, known: Known, ensembles: list[Callable[[str, str], list[Text]]]
) -> np.ndarray:
    found = [workshop.right(name, known, [ensemble(name, value) for value in known.values]) for ensemble in ensembles]
    return np.mean(found, axis=0)


def _row(accuracy: Difference, gain: Difference, items: int) -> dict[str, Any]:
    return {"items": items, "accuracy": accuracy._asdict(), "against_one_template": gain._asdict()}


if __name__ == "__main__":
    main()
