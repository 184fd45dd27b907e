"""How fast a search is at recall@10 of 0.99 against exact search, and how long its index takes to build.

    python eval/benchmarks/index_speed.py [--count 1000000] [--keep DIR]

Queries are judged one at a time, as a shop's arrive, and are not in the index. Exact search is timed in the same run,
alternating with the index, by whichever of three ways is fastest here: FAISS, and one matrix-vector product in NumPy or
torch, with all cores. "ratio" is its median over that of picture queries; the figure for texts stands beside it.
About 9 GB of memory and 10 minutes for a million vectors on 2 cores.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import torch
from clouds import Cloud, draw
from machine import publish

from clipadapt.search.embedded import Embedded
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.recall import Kind
from clipadapt.search.topk import topk
from clipadapt.search.vectors import Vectors

SPACE = "synthetic"


def main() -> None:
    """Builds, measures, writes eval/results/index_speed.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder to leave the index in, for index_filtered.py")
    arguments = parser.parse_args()
    cloud = draw(arguments.count, queries=arguments.queries)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "index"
        index, seconds = build(cloud, folder)
        result: dict[str, Any] = {**measure(index, cloud), "build_seconds": round(seconds, 1)}
    headline = {
        "ratio": result["picture"]["speedup"], "text_ratio": result["text"]["speedup"],
        "recall": result["picture"]["recall"], "text_recall": result["text"]["recall"],
        "build_seconds": result["build_seconds"], "count": arguments.count,
    }  # fmt: skip
    publish("index_speed", headline, result)


def build(cloud: Cloud, folder: Path) -> tuple[Index, float]:
    """The index as a user builds it, measured recall and disk included, with columns for index_filtered.py."""
    start = time.perf_counter()
    made = Vectors(cloud.items, Items.of(table(cloud)), SPACE, None)
    index = Index.build(made, folder, texts=cloud.tuning_texts)
    return index, time.perf_counter() - start


def inside(index: Index) -> Embedded:
    """The engine that runs in the process, measured without texts and attributes."""
    assert isinstance(index.backend, Embedded)
    return index.backend


def table(cloud: Cloud, seed: int = 1) -> pa.Table:
    """Columns to filter by: `lottery` knows nothing of vectors, `slope` and `share` follow them.

    slope: place along a random direction, as a share of items; share: whole clusters, in random order.
    """
    rng = np.random.default_rng(seed)
    count = len(cloud.items)
    slope = cloud.items @ rng.standard_normal(cloud.items.shape[1]).astype(np.float32)
    order = rng.permutation(cloud.clusters.max() + 1)
    return pa.table(
        {
            "id": [str(row) for row in range(count)],
            "product": [str(row // 2) for row in range(count)],
            "lottery": rng.random(count),
            "slope": np.argsort(np.argsort(slope)) / count,
            "share": np.argsort(np.argsort(order[cloud.clusters], kind="stable"), kind="stable") / count,
        }
    )


def measure(index: Index, cloud: Cloud) -> dict[str, Any]:
    """Recall and latency of the index, and latency of exact search, for both kinds of query."""
    exact, engine = _fastest_exact(cloud), inside(index).engine
    found: dict[str, Any] = {}
    asked: tuple[tuple[Kind, np.ndarray], ...] = (("picture", cloud.pictures), ("text", cloud.texts))
    for kind, queries in asked:
        truth = topk(queries, cloud.items, 10).indices
        params, once = index.meta.search_params[kind], functools.partial(engine.search, k=10, kind=kind)
        answers: list[np.ndarray] = []
        mine: list[float] = []
        theirs: list[float] = []
        for place, query in enumerate(queries):
            mine.append(_seconds(lambda: answers.append(once(query[None]).indices[0])))  # noqa: B023
            if place % 20 == 0:
                theirs.append(_seconds(lambda: exact(query)))  # noqa: B023
        hits = [_seconds(lambda: index.search(query, 10)) for query in queries[:200]]  # noqa: B023
        p50 = float(np.median(mine))
        found[kind] = {
            "recall": round(float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, answers, strict=True)])), 4),
            "p50_ms": _ms(mine, 0.5), "p99_ms": _ms(mine, 0.99), "exact_p50_ms": _ms(theirs, 0.5),
            "speedup": round(float(np.median(theirs)) / p50, 1), "search_params": params._asdict(),
            "with_attributes_p50_ms": _ms(hits, 0.5), "queries": len(queries),
        }  # fmt: skip
    meta = index.meta
    return {
        "count": len(cloud.items), "dim": cloud.items.shape[1], "factory": meta.factory,
        "exact_by": exact.__name__, "memory_mb": round(meta.memory / 1e6, 1),
        "file_mb": round(engine.size() / 1e6, 1), **found,
        "own_measurement": {kind: one.model_dump() for kind, one in meta.measured.items()},
        "curve": [point._asdict() for point in meta.curve],
    }  # fmt: skip


def _fastest_exact(cloud: Cloud) -> Callable[[np.ndarray], object]:
    items = torch.from_numpy(cloud.items)

    def by_numpy(query: np.ndarray) -> object:
        scores = cloud.items @ query
        best = np.argpartition(-scores, 10)[:10]
        return best[np.argsort(-scores[best])]

    def by_torch(query: np.ndarray) -> object:
        return torch.topk(items @ torch.from_numpy(query), 10)

    def by_faiss(query: np.ndarray) -> object:
        return faiss.knn(query[None], cloud.items, 10, metric=faiss.METRIC_INNER_PRODUCT)

    ways = (by_numpy, by_torch, by_faiss)
    medians = [np.median([_seconds(lambda: way(query)) for query in cloud.pictures[:9]]) for way in ways]  # noqa: B023
    return ways[int(np.argmin(medians))]


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _ms(times: list[float], share: float) -> float:
    return round(1e3 * float(np.quantile(times, share)), 3)


if __name__ == "__main__":
    main()
