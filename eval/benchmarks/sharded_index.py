"""One index in one folder and in shards: seconds to build it, latency of single queries, recall, memory while building.

    python eval/benchmarks/sharded_index.py [--count 200000 --dim 256 --shards 2]

Each form is built in a process of its own, which says how much memory it took beyond the vectors that it was given.
Then both are open in one process, and each query asks one and then the other, so that whatever slows the machine slows
both. "ratio" is the median of a picture query in one folder over that in shards; `exact` is the same with every vector
scored. Recall@10 is against exact search over all vectors.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from clouds import Cloud, draw
from machine import peak, publish

from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import KINDS, Kind
from clipadapt.search.topk import topk
from clipadapt.search.vectors import Vectors

_WARM = 20


def main() -> None:
    """Builds both forms, measures, writes eval/results/sharded_index.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--build", nargs=2, metavar=("FOLDER", "SHARDS"), help="one form of what lies in FOLDER")
    arguments = parser.parse_args()
    if arguments.build:
        print(json.dumps(_build(Path(arguments.build[0]), int(arguments.build[1]))))
        return
    cloud = draw(arguments.count, arguments.dim, queries=arguments.queries)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "items.npy", cloud.items)
        np.save(folder / "texts.npy", cloud.tuning_texts)
        forms = {"one folder": 1, f"{arguments.shards} shards": arguments.shards}
        built = {name: _in_a_process(folder, shards) for name, shards in forms.items()}
        indexes = {name: Index.open(folder / str(shards)) for name, shards in forms.items()}
        queries = [_measured(indexes, cloud, kind) for kind in KINDS]
    one, several = forms
    picture = queries[0]["forms"]
    headline = {
        "ratio": round(picture[one]["p50_ms"] / picture[several]["p50_ms"], 2),
        "exact_ratio": round(picture[one]["exact_p50_ms"] / picture[several]["exact_p50_ms"], 2),
        "p50_ms": {name: picture[name]["p50_ms"] for name in forms},
        "build_seconds": {name: built[name]["seconds"] for name in forms},
        "lowest_recall": min(found["recall"] for row in queries for found in row["forms"].values()),
        "count": arguments.count,
    }
    publish("sharded_index", headline, {"dim": arguments.dim, "built": built, "queries": queries})


def _in_a_process(folder: Path, shards: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--build", str(folder), str(shards)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(found, flush=True)
    return found


def _build(folder: Path, shards: int) -> dict[str, Any]:
    vectors = np.load(folder / "items.npy", mmap_mode="r")
    ids = [f"i{row}" for row in range(len(vectors))]
    items = Items.of(pa.table({"id": ids, "product": [f"p{row // 3}" for row in range(len(vectors))]}))
    source = Vectors(vectors, items, "cloud", None)
    before, start = peak(), time.perf_counter()
    index = Index.build(source, folder / str(shards), texts=np.load(folder / "texts.npy"), shards=shards)
    seconds = time.perf_counter() - start
    return {
        "shards": shards, "seconds": round(seconds, 1), "peak_mb": round(peak() - before),
        "factory": index.meta.factory, "memory_mb": round(index.meta.memory / 1e6, 1),
        "measured": {kind: one.recall for kind, one in index.meta.measured.items()},
    }  # fmt: skip


def _measured(indexes: dict[str, Index], cloud: Cloud, kind: Kind) -> dict[str, Any]:
    """Latency of single queries, in turn, and recall; each product's items count for themselves."""
    vectors = cloud.pictures if kind == "picture" else cloud.texts
    compiled = [CompiledQuery(query, kind, ()) for query in vectors]
    truth = topk(vectors, cloud.items, 10).indices
    asked: dict[str, dict[str, Callable[[list[CompiledQuery]], list]]] = {
        name: {
            "": lambda some, index=index: index.backend.search(some, 10, collapse=False),
            "exact_": lambda some, index=index: index.backend.exact(some, 10, collapse=False),
        }
        for name, index in indexes.items()
    }
    forms = {}
    for form in ("", "exact_"):
        times: dict[str, list[float]] = {name: [] for name in indexes}
        for query in [*compiled[:_WARM], *compiled]:
            for name in indexes:
                start = time.perf_counter()
                asked[name][form]([query])
                times[name].append(1e3 * (time.perf_counter() - start))
        for name, some in times.items():
            kept = some[_WARM:]
            forms.setdefault(name, {}).update({
                f"{form}p50_ms": round(statistics.median(kept), 3),
                f"{form}p99_ms": round(float(np.quantile(kept, 0.99)), 3),
            })  # fmt: skip
    for name in indexes:
        found = asked[name][""](compiled)
        right = [
            len({int(hit.id[1:]) for hit in hits} & set(rows.tolist())) for hits, rows in zip(found, truth, strict=True)
        ]
        forms[name]["recall"] = round(sum(right) / truth.size, 4)
    return {"queries": kind, "number": len(vectors), "forms": forms}


if __name__ == "__main__":
    main()
