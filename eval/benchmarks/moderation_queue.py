"""How much of a moderation queue an adaptation saves, and how long the rest takes in which order.

    python eval/benchmarks/moderation_queue.py --run runs/quickstart --base local-dir:runs/quickstart/base

1. Share of labelled validation cells that need no person, adapted against base, at several precisions shown on tune.
2. The rest, worked off with the true labels: cells settled in half of the time that all of it takes, by gain and in
   catalogue order, and the time against entering every cell by hand. Seconds of a person are assumed (tagging.queue).
3. What a shop should expect by number of labels: thresholds from a part of tune's products, drawn several times.
Thresholds come from tune, figures from validation. Minutes, mostly encoding; vectors are kept.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from machine import publish

from clipadapt import keyed
from clipadapt.inputs import Inputs, resolve
from clipadapt.places import default_folder
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.inputs import TagInputs, tag_inputs
from clipadapt.tagging.predictions import truth_of
from clipadapt.tagging.queue import Seconds, queue, spent, without_model
from clipadapt.tagging.report import report, share_done
from clipadapt.tagging.tag import Tagged, tag
from clipadapt.tagging.thresholds import Thresholds
from clipadapt.towers.encoder import Encoder
from clipadapt.towers.load import load

PRECISIONS = (0.95, 0.9, 0.8)
SHARES = (0.25, 0.5, 1.0)
"""Of tune's products."""


def main() -> None:
    """Measures all of it, writes eval/results/moderation_queue_NAME.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of a run")
    parser.add_argument("--base", required=True, help="MODEL that the run started from")
    parser.add_argument("--draws", type=int, default=5, help="parts of tune of each size")
    parser.add_argument("--name", default="quickstart", help="of the file in eval/results")
    arguments = parser.parse_args()
    inputs = resolve(model=f"run:{arguments.run}")
    work = tag_inputs(inputs, inputs.default_split, tune=None, given=None)
    encoders = {"adapted": load(f"run:{arguments.run}"), "base": load(arguments.base)}
    kept = VectorCache(default_folder() / "vectors")
    shares, times, expected = {}, {}, []
    for precision in PRECISIONS:
        fitted = _fitted(encoders, work, inputs, kept, precision)
        tagged = _tagged(encoders, work, inputs, kept, fitted)
        shares[f"{precision:g}"] = share_done(report(tagged, fitted, split=work.split))
        times[f"{precision:g}"] = {name: worked_off(one, fitted[name]) for name, one in tagged.items()}
        expected += [
            row | {"precision": precision}
            for row in by_labels(encoders, work, inputs, kept, precision, arguments.draws)
        ]
    first = shares["0.95"] or {}
    halves = times["0.95"]["adapted"]
    headline = {
        "cells": first.get("cells"),
        "saved_at_95": first.get("saved"), "saved_low": first.get("saved_low"), "saved_high": first.get("saved_high"),
        "saved_at_90": (shares["0.9"] or {}).get("saved"), "saved_at_80": (shares["0.8"] or {}).get("saved"),
        "ratio": halves["settled_in_half_the_time"] / max(halves["catalogue_order"], 1e-9),
    }  # fmt: skip
    about = {"seconds": Seconds()._asdict(), "tune_products": len(set(_tune(work).products.tolist()))}
    publish(
        f"moderation_queue_{arguments.name}",
        headline,
        {"shares": shares, "times": times, "by_labels": expected, **about},
    )


def worked_off(tagged: Tagged, thresholds: Thresholds) -> dict[str, float]:
    """What a person who makes no mistakes does with the labelled open cells."""
    seconds, catalogue = Seconds(), tagged.catalogue
    right, labelled = {}, {}
    for name, one in thresholds.attributes.items():
        truth = truth_of(one.candidates, catalogue.value_sets(name))
        hit = np.zeros(len(catalogue), bool)
        made = tagged.columns[name].predictions
        hit[made.rows] = truth.right(made)
        right[name], labelled[name] = hit, truth.labelled
    # Only cells with a label can be judged, so others count as settled.
    columns = {
        name: column._replace(
            states=[s if known else "sure" for s, known in zip(column.states, labelled[name], strict=True)]
        )
        for name, column in tagged.columns.items()
    }
    tasks = queue(Tagged(catalogue, columns, [], [], tagged.faults, [], {}), seconds)
    by_gain, in_order = spent(tasks, right, seconds), spent(sorted(tasks, key=lambda one: one.row), right, seconds)
    whole = float(by_gain.seconds[-1]) if len(tasks) else 0.0
    cells, known = sum(len(one.cells) for one in tasks), np.stack(list(labelled.values()))
    by_hand = without_model(int(known.sum()), int(known.any(axis=0).sum()), seconds)
    half = {"settled_in_half_the_time": by_gain, "catalogue_order": in_order}
    settled = {
        name: float(np.interp(whole / 2, one.seconds, one.cells)) / cells if cells else 0.0
        for name, one in half.items()
    }
    return {
        "cells": cells,
        "minutes": whole / 60,
        "minutes_by_hand": by_hand / 60,
        "time_saved": 1 - whole / by_hand,
        **settled,
    }


def by_labels(
    encoders: Mapping[str, Encoder], work: TagInputs, inputs: Inputs, kept: VectorCache, precision: float, draws: int
) -> list[dict[str, Any]]:
    """Share of labelled cells that need no person, by how much of tune there is."""
    tune, rows = _tune(work), []
    products = np.unique(tune.products)
    for share in SHARES:
        for name, encoder in encoders.items():
            done, labels = [], []
            for draw in range(draws if share < 1 else 1):
                chosen = keyed.generator("tune", draw, int(100 * share)).permutation(products)[
                    : round(share * len(products))
                ]
                part = tune.subset(np.flatnonzero(np.isin(tune.products, chosen)))
                labels.append(sum(sum(bool(values) for values in part.value_sets(a.name)) for a in work.attributes))
                limits = work._replace(tune=part).fit(encoder, inputs.prompts, kept, precision=precision)
                tagged = tag(encoder, work.catalogue, inputs.prompts, limits, kept, split=work.split, progress=False)
                done.append(share_of_cells(tagged))
            spread = {"share_of_cells": float(np.mean(done)), "least": min(done), "most": max(done)}
            rows.append({"system": name, "labels_of_tune": round(float(np.mean(labels))), **spread})
    return rows


def share_of_cells(tagged: Tagged) -> float:
    """Of labelled cells, those that need no person."""
    done = [
        column.states[row] in ("sure", "not applicable")
        for name, column in tagged.columns.items()
        for row, values in enumerate(tagged.catalogue.value_sets(name))
        if values and row not in tagged.faults
    ]
    return float(np.mean(done))


def _tune(work: TagInputs) -> Any:
    assert work.tune is not None, "no thresholds were given"
    return work.tune


def _fitted(
    encoders: Mapping[str, Encoder], work: TagInputs, inputs: Inputs, kept: VectorCache, precision: float
) -> dict[str, Thresholds]:
    return {name: work.fit(one, inputs.prompts, kept, precision=precision) for name, one in encoders.items()}


def _tagged(
    encoders: Mapping[str, Encoder],
    work: TagInputs,
    inputs: Inputs,
    kept: VectorCache,
    fitted: Mapping[str, Thresholds],
) -> dict[str, Tagged]:
    return {
        name: tag(one, work.catalogue, inputs.prompts, fitted[name], kept, split=work.split)
        for name, one in encoders.items()
    }


if __name__ == "__main__":
    main()
