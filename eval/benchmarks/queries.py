"""Queries as people type them on one split: eval/queries.yaml as a benchmark, whose results are kept in eval/results.

    python eval/benchmarks/queries.py --model run:runs/fashion --queries runs/fashion/queries.safetensors

What is measured and how is the suite's business (clipadapt/evaluation/tasks/typed_queries.py). The last line says, with
half of the labels known where that was measured, how violations@10 of negation compare with plain vectors'.
"""

import argparse
from pathlib import Path

from machine import publish

from clipadapt.evaluation.evaluate import evaluate
from clipadapt.evaluation.suite import Suite
from clipadapt.inputs import resolve
from clipadapt.places import default_folder
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.rows import Row
from clipadapt.towers.load import load


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--queries", help="query weights; without, those of the model's run")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--head", help="attribute that says what kind of product it is")
    parser.add_argument("--known", type=float, nargs="+", default=[1.0, 0.5, 0.1])
    parser.add_argument("--most", type=int, default=40, help="queries of a kind, each in several wordings")
    parser.add_argument("--cache", type=Path, default=default_folder() / "vectors")
    parser.add_argument("--name", default="queries")
    arguments = parser.parse_args()
    task = {
        "task": "queries", "head": arguments.head, "known": arguments.known, "weights": arguments.queries,
        "most": arguments.most,
    }  # fmt: skip
    suite = Suite.model_validate({"name": "queries", "tasks": [task]})
    inputs, encoder = resolve(model=arguments.model), load(arguments.model)
    catalogue, cache = inputs.catalogue(arguments.split), VectorCache(arguments.cache)
    results = evaluate(encoder, catalogue, inputs.prompts, suite, split=arguments.split, cache=cache)
    bad = [row for row in results.rows if row.metric == "violations" and row.task.startswith("queries:")]
    ours = next(row for row in sorted(bad, key=lambda row: "known=0.5" not in row.task) if row.paired)
    plain = next(row for row in bad if row.task == ours.task and not row.paired)
    headline = {"ratio": round(ours.mean / max(plain.mean, 1e-9), 3), "violations@10": [_figure(ours), _figure(plain)]}
    rows = [row.to_json() for row in results.rows]
    publish(arguments.name, headline, {"config": results.config, "rows": rows})


def _figure(row: Row) -> list[float | None]:
    return [row.mean, row.low, row.high]


if __name__ == "__main__":
    main()
