"""The label audit on planted errors: is the interval of label error right, and does the list hold the errors?

    python eval/benchmarks/label_audit.py --source runs/quickstart/catalogue --model local-dir:runs/quickstart/base

1. Coverage. Drawn catalogues of --items pictures, 8% of each product's labels replaced by another value; 5% of the
   labels looked at by a person who makes no mistakes; how often the 95% interval holds the catalogue's label error.
2. The list. The same errors planted in the catalogue at --source, whose pictures MODEL has seen; the share of errors
   in the first 12% of the list, ours and cleanlab's three rankings from the same probabilities (pip install cleanlab).
No picture is drawn for the first part, which takes about four minutes; vectors of the second are kept.
"""

import argparse
import time
from typing import Any

import numpy as np
from machine import publish

from clipadapt import keyed
from clipadapt.audit.estimate import Mark, estimates
from clipadapt.audit.labels import Labels
from clipadapt.audit.sample import draw
from clipadapt.audit.suspects import FOLDS, crossfit, suspects
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.garments.products import deal
from clipadapt.data.garments.vocabulary import ATTRIBUTES
from clipadapt.places import default_folder
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.load import load

PLANTED, FIRST = 0.08, 0.12


def main() -> None:
    """Measures both, writes eval/results/label_audit.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="catalogue of drawn garments, whose labels are all right")
    parser.add_argument("--model", required=True, help="MODEL whose picture vectors the list uses")
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--plantings", type=int, default=3, help="of errors in --source")
    parser.add_argument("--name", default="label_audit", help="of the file in eval/results")
    arguments = parser.parse_args()
    started = time.perf_counter()
    coverage = covered(arguments.simulations, arguments.items)
    lists = listed(arguments.source, arguments.model, arguments.plantings)
    headline = {
        "simulations": arguments.simulations,
        "coverage_of_all_attributes": coverage["all attributes"]["coverage"],
        "coverage_of_attributes": round(float(np.mean([one["coverage"] for one in coverage.values()])), 4),
        "errors_in_first_12_percent": lists["ours"]["mean"],
        "best_of_cleanlab": max(one["mean"] for name, one in lists.items() if name.startswith("cleanlab")),
    }
    seconds = round(time.perf_counter() - started, 1)
    sizes = {"items": arguments.items, "planted": PLANTED, "share": 0.05, "first": FIRST, "seconds": seconds}
    publish(arguments.name, headline, {"coverage": coverage, "lists": lists, **sizes})


def covered(simulations: int, items: int) -> dict[str, dict[str, Any]]:
    """Attribute -> how often its interval held the truth, and what the intervals were like."""
    found: dict[str, list[tuple[bool, float, int, float]]] = {}
    for seed in range(simulations):
        labels, right = drawn(items, seed)
        chosen = draw(labels, 0.05, seed)
        marks: dict[int, Mark] = {
            place: "right" if right[at] else "wrong" for place, at in enumerate(chosen.labels.tolist())
        }
        names = np.array([labels.strata[at].attribute for at in labels.stratum])
        for one in estimates(labels, chosen, marks):
            if one.value is None and one.error is not None:
                own = right if one.attribute == "all attributes" else right[names == one.attribute]
                truth = 1 - float(own.mean())
                low, high = one.error.low, one.error.high
                found.setdefault(one.attribute, []).append(
                    (low <= truth <= high, high - low, one.looked_at, one.error.mean - truth)
                )
    keys = ("coverage", "width", "looked_at", "bias")
    return {
        name: dict(zip(keys, np.round(np.mean(rows, axis=0), 4).tolist(), strict=True)) for name, rows in found.items()
    }


def drawn(items: int, seed: int) -> tuple[Labels, np.ndarray]:
    """(labels of a drawn catalogue with planted errors, which of them are right)."""
    ids, products = [], []
    cells: dict[str, list[tuple[str, ...]]] = {name: [] for name in ATTRIBUTES}
    truth: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
    for product in deal(items, seed):
        for name, value in product.cells.items():
            shown = planted(value, list(ATTRIBUTES[name].shares), seed, name, product.name)
            cells[name] += [(shown,) if shown else ()] * product.pictures
            truth[name] += [product.values[name]] * product.pictures
        ids += [f"{product.name}-{number}" for number in range(product.pictures)]
        products += [product.name] * product.pictures
    labels = Labels.of_cells(cells, np.array(ids), np.array(products))
    pairs = zip(labels.stratum.tolist(), labels.row.tolist(), strict=True)
    right = [truth[labels.strata[at].attribute][row] == labels.strata[at].value for at, row in pairs]
    return labels, np.array(right)


def planted(value: str, values: list[str], seed: int, attribute: str, product: str) -> str:
    """The value, or in PLANTED of the products another one; an unknown stays unknown."""
    if not value or keyed.integer(seed, "plant", attribute, product) / 2**64 >= PLANTED:
        return value
    others = [one for one in values if one != value]
    return others[keyed.integer(seed, "instead", attribute, product) % len(others)]


def listed(source: str, model: str, plantings: int) -> dict[str, dict[str, Any]]:
    """Ranking -> share of the planted errors in the first 12% of one list over all attributes, by planting."""
    catalogue = Catalogue.load(source, attributes=[Attribute(name) for name in ATTRIBUTES])
    vectors = VectorCache(default_folder() / "vectors").pictures(load(model), catalogue)
    shares: dict[str, list[float]] = {}
    for seed in range(plantings):
        cells: dict[str, list[tuple[str, ...]]] = {}
        wrong: dict[str, np.ndarray] = {}
        for name in ATTRIBUTES:
            values = [value or "" for value in catalogue.values(name)]
            known = list(catalogue.counts(name))
            shown = [
                planted(value, known, seed, name, product)
                for value, product in zip(values, catalogue.products.tolist(), strict=True)
            ]
            cells[name] = [(value,) if value else () for value in shown]
            wrong[name] = np.array([a != b for a, b in zip(values, shown, strict=True)])
        labels = Labels.of_cells(cells, np.array(catalogue.ids), catalogue.products)
        pairs = zip(labels.stratum.tolist(), labels.row.tolist(), strict=True)
        errors = np.array([wrong[labels.strata[at].attribute][row] for at, row in pairs])
        first = round(FIRST * len(labels))
        order = suspects(catalogue.attributes, vectors, labels, seed=seed).order
        shares.setdefault("ours", []).append(float(errors[order[:first]].sum() / errors.sum()))
        for method, scores in of_cleanlab(labels, vectors, seed).items():
            chosen = np.argsort(scores, kind="stable")[:first]
            shares.setdefault(f"cleanlab, {method}", []).append(float(errors[chosen].sum() / errors.sum()))
    return {
        name: {"mean": round(float(np.mean(some)), 4), "each": np.round(some, 4).tolist()}
        for name, some in shares.items()
    }


def of_cleanlab(labels: Labels, vectors: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """cleanlab's scores of every label from the probabilities that ours uses before pooling; low is likely wrong."""
    from cleanlab.rank import get_label_quality_scores  # pyright: ignore[reportMissingImports] - an optional rival

    features = vectors.astype(np.float64)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    folds = np.array([keyed.integer(seed, "crossfit", str(name)) % FOLDS for name in labels.products])
    methods = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    found = {method: np.ones(len(labels)) for method in methods}
    attributes = np.array([labels.strata[at].attribute for at in labels.stratum])
    for name in ATTRIBUTES:
        places = np.flatnonzero(attributes == name)
        values, classes = np.unique(labels.stratum[places], return_inverse=True)
        rows = labels.row[places]
        chances, _ = crossfit(features[rows], classes, folds[rows], len(values))
        for method in methods:
            found[method][places] = get_label_quality_scores(classes, chances, method=method)
    return found


if __name__ == "__main__":
    main()
