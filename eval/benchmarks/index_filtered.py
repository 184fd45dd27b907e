"""Recall and latency of filtered searches, from half the items down to one in two thousand, correlated or not.

    python eval/benchmarks/index_filtered.py [--count 1000000] [--index DIR left by index_speed.py --keep]

Three filters of each selectivity: `lottery` knows nothing of the vectors; `slope` cuts along a direction, so that some
queries lie amid the matches and others far from any; `share` keeps whole clusters, far from most queries. Each search
goes through `Index.search` with its condition, hits and all. "p99_ratio" is the worst of all filters' 99th percentiles
over that of unfiltered searches in the same run. A condition's first search also reads its columns, which is shown
apart as first_ms.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from clouds import Cloud, draw
from index_speed import build, inside
from machine import publish

from clipadapt.search.filters import matching, parse
from clipadapt.search.index import Index
from clipadapt.search.topk import topk

SELECTIVITIES = (0.5, 0.05, 0.005, 0.0005)
COLUMNS = ("lottery", "slope", "share")


def main() -> None:
    """Measures every filter, writes eval/results/index_filtered.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--index", type=Path, help="folder of an index of the same --count")
    arguments = parser.parse_args()
    cloud = draw(arguments.count)
    with tempfile.TemporaryDirectory() as scratch:
        index = Index.open(arguments.index) if arguments.index else build(cloud, Path(scratch) / "index")[0]
        rows = [measure(index, cloud, kind, arguments.queries) for kind in ("picture", "text")]
    plain = {row["queries"]: row["unfiltered"] for row in rows}
    filtered = [one for row in rows for one in row["filters"]]
    headline = {
        "lowest_recall": min(one["recall"] for one in filtered),
        "p99_ratio": round(max(one["p99_ms"] / plain[one["queries"]]["p99_ms"] for one in filtered), 2),
        "p50_ratio": round(max(one["p50_ms"] / plain[one["queries"]]["p50_ms"] for one in filtered), 2),
        "count": arguments.count,
    }
    publish("index_filtered", headline, {"rows": rows, "factory": index.meta.factory})


def measure(index: Index, cloud: Cloud, kind: str, number: int) -> dict[str, Any]:
    """All filters for one kind of query, with unfiltered searches before and after them."""
    queries = cloud.pictures[:number] if kind == "picture" else cloud.texts[:number]
    plain = _timed(index, queries, kind, None)[1]
    filters = []
    for share in SELECTIVITIES:
        for column in COLUMNS:
            where = f"{column}<{share}"
            mask = matching(inside(index).items, [parse(where)])
            start = time.perf_counter()
            index.search(queries[0], 10, where=where, collapse=False)
            first = time.perf_counter() - start
            found, times = _timed(index, queries, kind, where)
            truth = topk(queries, cloud.items, 10, allowed=mask).indices
            right = [np.isin(exact[exact >= 0], rows).mean() for exact, rows in zip(truth, found, strict=True)]
            filters.append({
                "column": column, "selectivity": share, "queries": kind, "matches": int(mask.sum()),
                "recall": round(float(np.mean(right)), 4), **_quantiles(times), "first_ms": round(1e3 * first, 2),
            })  # fmt: skip
            print(filters[-1], flush=True)
    plain += _timed(index, queries, kind, None)[1]
    return {"queries": kind, "unfiltered": _quantiles(plain), "filters": filters}


def _timed(index: Index, queries: np.ndarray, kind: str, where: str | None) -> tuple[list[np.ndarray], list[float]]:
    """Rows found and seconds taken, query by query, at the search parameters of this kind."""
    params = index.meta.search_params
    found, times = [], []
    index.meta.search_params["picture"], kept = params["text" if kind == "text" else "picture"], params["picture"]
    try:
        for query in queries:
            start = time.perf_counter()
            hits = index.search(query, 10, where=where, collapse=False)[0]
            times.append(time.perf_counter() - start)
            found.append(np.array([int(hit.id) for hit in hits]))
    finally:
        index.meta.search_params["picture"] = kept
    return found, times


def _quantiles(times: list[float]) -> dict[str, float]:
    return {name: round(1e3 * float(np.quantile(times, at)), 3) for name, at in (("p50_ms", 0.5), ("p99_ms", 0.99))}


if __name__ == "__main__":
    main()
