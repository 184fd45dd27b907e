"""What changes of a served index cost: an upsert against rewriting everything, recall after many, searches beside.

    python eval/benchmarks/live_index.py                                     1,000,000 x 512: an hour or more on 2 cores
    python eval/benchmarks/live_index.py --count 50000 --dim 64 --batches 100   minutes

An upsert replaces some items and adds others; it counts until the call has returned, when it is on the disk, and the
last of its items is found by a search. `rewrite` is what an addition did before there were segments: read, verify, add,
write and flush all of it. Recall is against exact scores over the same items, for queries that no index was tuned with.
Compactions run in a process of their own with one thread, as `clipadapt index compact` does, and searches are timed in
this one meanwhile. Memory is by how much a fresh process's peak grows, its libraries not counted.
"""

import argparse
import json
import shutil
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

from clipadapt.search import contents, embedded
from clipadapt.search.engine import Engine
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import KINDS, Kind
from clipadapt.search.vectors import Vectors
from clipadapt.store import Store

SPACE = "synthetic"


def main() -> None:
    """Builds, measures, writes eval/results/live_index.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--upsert", type=int, default=1_000, help="items of a timed upsert")
    parser.add_argument("--rounds", type=int, default=5, help="upserts and rewrites that are timed")
    parser.add_argument("--batches", type=int, default=1_000, help="mixed batches before recall is measured")
    parser.add_argument("--batch", type=int, default=200, help="items of one of them; a quarter as many are removed")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--index", type=Path, help="folder to build in, and to use again if an index is there")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside is not None:
        _inside(*given.inside)
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = given.index or Path(scratch) / "base"
        cloud = draw(given.count + 50_000 + given.batches * given.batch, given.dim, queries=given.queries)
        if not Store(base).exists():
            first = _items(cloud.items[: given.count], [str(row) for row in range(given.count)])
            Index.build(first, base, texts=cloud.tuning_texts)
        place = Path(scratch) / "index"
        shutil.copytree(base, place)
        result = measure(given, cloud, base, place)
    upsert, rewrite = result["upsert"]["median_s"], result["rewrite"]["median_s"]
    publish("live_index", {
        "ratio": round(rewrite / upsert, 1), "upsert_s": upsert, "rewrite_s": rewrite,
        "memory_ratio": round(result["upsert"]["peak_mb"] / result["rewrite"]["peak_mb"], 3),
        **{f"{kind}_recall": result["after"]["recall"][kind] for kind in KINDS},
        "p99_ratio": result["beside"]["p99_ratio"], "serving_memory_ratio": result["serving"]["ratio"],
        "count": given.count, "dim": given.dim, "batches": given.batches,
    }, result)  # fmt: skip


def measure(given: argparse.Namespace, cloud: Cloud, base: Path, place: Path) -> dict[str, Any]:
    """All figures, in the order in which they can be taken on one index."""
    index, rng = Index.open(place, verify=False), np.random.default_rng(0)
    next_row, seconds = given.count, []
    for _ in range(given.rounds + 1):
        half = given.upsert // 2
        rows = np.concatenate([rng.permutation(given.count)[:half], next_row + np.arange(given.upsert - half)])
        next_row += given.upsert - half
        more = _vectors(cloud, rows, offset=int(rng.integers(len(cloud.items))))
        start = time.perf_counter()
        index.update(more)
        (hits,) = index.search(more.vectors[-1], 1, collapse=False)
        seconds.append(time.perf_counter() - start)
        assert hits[0].score > 0.999
    found: dict[str, Any] = {"upsert": {"median_s": round(float(np.median(seconds[1:])), 4), "first_s": seconds[0]}}
    found["upsert"]["peak_mb"] = _peak("upsert", base, given.upsert)["peak_mb"]
    rewrites = [_peak("rewrite", base, given.upsert) for _ in range(max(1, given.rounds // 2))]
    found["rewrite"] = {
        "median_s": round(float(np.median([one["seconds"] for one in rewrites])), 3),
        "peak_mb": rewrites[0]["peak_mb"],
    }
    print(json.dumps(found), flush=True)
    found["batches"] = _batches(given, cloud, index, next_row, rng)
    found["after"] = _after(index, cloud)
    print(json.dumps(found["after"]), flush=True)
    found["beside"] = _beside(given, cloud, index, next_row + given.batches * given.batch, rng)
    found["serving"] = {
        "segments_mb": _peak("serve", place, 300)["peak_mb"],
        "whole_mb": _peak("serve", base, 300)["peak_mb"],
    }
    found["serving"]["ratio"] = round(found["serving"]["segments_mb"] / found["serving"]["whole_mb"], 3)
    return found


def _batches(
    given: argparse.Namespace, cloud: Cloud, index: Index, first: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Mixed batches, compacted beside in another process whenever that is due."""
    times, compactions, beside, ids = [], 0, None, index.ids()
    for number in range(given.batches):
        half = given.batch // 2
        old = rng.permutation(given.count)[:half]
        rows = np.concatenate([old, first + number * given.batch + np.arange(given.batch - half)])
        start = time.perf_counter()
        index.update(_vectors(cloud, rows, offset=int(rng.integers(len(cloud.items)))))
        times.append(time.perf_counter() - start)
        if number % 50 == 0:
            ids = index.ids()
        chosen = {str(ids[place]) for place in rng.permutation(len(ids))[: given.batch // 4]}
        index.remove([item for item in chosen if index.holds(item)])
        if beside is not None and beside.poll() is not None:
            assert beside.returncode == 0, "a compaction failed"
            beside = None
        if beside is None and index.backend.compaction_due():
            beside, compactions = _compact(Path(index.backend.name)), compactions + 1
    if beside is not None:
        beside.wait()
    index.refresh()
    return {"upsert_p50_s": _quantile(times, 0.5), "upsert_p99_s": _quantile(times, 0.99), "compactions": compactions}


def _after(index: Index, cloud: Cloud) -> dict[str, Any]:
    """Recall@10 against exact scores of the same items, and what the index consists of."""
    recall: dict[str, float] = {}
    queries: dict[Kind, np.ndarray] = {"picture": cloud.pictures, "text": cloud.texts}
    for kind, vectors in queries.items():
        compiled = [CompiledQuery(vector, kind, ()) for vector in vectors]
        right = index.backend.exact(compiled, 10, collapse=False)
        mine = [index.backend.search([one], 10, collapse=False)[0] for one in compiled]
        shares = [len({hit.id for hit in a} & {hit.id for hit in b}) / 10 for a, b in zip(right, mine, strict=True)]
        recall[kind] = round(float(np.mean(shares)), 4)
    segments = [
        {
            "rows": one.rows,
            "factory": one.factory,
            "recall": {kind: found.recall for kind, found in one.measured.items()},
        }
        for one in index.meta.segments
    ]
    return {"recall": recall, "segments": segments, "items": len(index)}


def _beside(
    given: argparse.Namespace, cloud: Cloud, index: Index, first: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Searches of one picture each, before a compaction, and while one runs in another process."""
    rows = first + np.arange(min(5_000, len(cloud.items) - first))
    index.update(_vectors(cloud, rows, offset=int(rng.integers(len(cloud.items)))))
    quiet = _searches(index, cloud, lambda done: done < 2_000)
    process = _compact(Path(index.backend.name))
    busy = _searches(index, cloud, lambda _: process.poll() is None)
    assert process.returncode == 0, "the compaction failed"
    return {
        "quiet_p50_ms": _quantile(quiet, 0.5, 1e3), "quiet_p99_ms": _quantile(quiet, 0.99, 1e3),
        "busy_p50_ms": _quantile(busy, 0.5, 1e3), "busy_p99_ms": _quantile(busy, 0.99, 1e3),
        "p99_ratio": round(float(np.quantile(busy, 0.99) / np.quantile(quiet, 0.99)), 2), "searches": len(busy),
    }  # fmt: skip


def _searches(index: Index, cloud: Cloud, more: Callable[[int], bool]) -> list[float]:
    times: list[float] = []
    while more(len(times)):
        query = cloud.pictures[len(times) % len(cloud.pictures)]
        start = time.perf_counter()
        index.search(query, 10)
        times.append(time.perf_counter() - start)
    return times


def _compact(place: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "clipadapt.cli", "index", "compact", str(place)])


def _peak(what: str, place: Path, size: int) -> dict[str, float]:
    """Seconds and growth of the peak memory of one thing in a fresh process, on a copy where it changes something."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = place
        if what != "serve":
            copy = Path(scratch) / "index"
            shutil.copytree(place, copy)
        command = [sys.executable, __file__, "--inside", what, str(copy), str(size)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def _inside(what: str, place: str, size: str) -> None:
    rng, path, before = np.random.default_rng(1), Path(place), peak()
    dim = embedded.Embedded(path, verify=False).meta.dim
    vectors = rng.standard_normal((int(size), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    more = _items(vectors, [f"new{row}" for row in range(len(vectors))])
    if what == "rewrite":
        seconds = _rewrite(path, more)
    else:
        index = Index.open(path, verify=False)
        start = time.perf_counter()
        if what == "upsert":
            index.add(more)
        else:
            for vector in vectors:
                index.search(vector, 10)
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": round(seconds, 4), "peak_mb": round(peak() - before, 1)}))


def _rewrite(path: Path, more: Vectors) -> float:
    """All files verified, read, added to and written again, as every addition did before there were segments."""
    start = time.perf_counter()
    store = Store(path)
    folder = store.current(verify=True)
    now = contents.read(folder, mapped=False)
    known = dict(zip(now.items.ids(), range(len(now.items)), strict=True))  # which it had in memory, too
    assert not any(item in known for item in more.items.ids())
    engine = Engine.read(folder / "index.faiss", mapped=False)
    engine.add(more.vectors)
    items = now.items.extended(more.items)
    items = Items(items.table.combine_chunks(), items.removed)
    base = contents.base_segment(engine, items, now.meta)
    with store.write() as staging:
        contents.write(staging, contents.Contents((base,), items, now.meta, now.texts))
    return time.perf_counter() - start


def _vectors(cloud: Cloud, rows: np.ndarray, offset: int = 0) -> Vectors:
    """Items named after `rows`; replaced ones get the vectors of others, `offset` rows further."""
    return _items(cloud.items[(rows + offset) % len(cloud.items)], [str(row) for row in rows])


def _items(vectors: np.ndarray, ids: list[str]) -> Vectors:
    table = pa.table(
        {
            "id": ids,
            "product": [f"p{place // 2}" for place in range(len(ids))],
            "Pattern": [("Solid", "Striped", "Checked")[place % 3] for place in range(len(ids))],
            "price": [place % 97 for place in range(len(ids))],
        }
    )
    return Vectors(vectors, Items.of(table), SPACE, None)


def _quantile(seconds: list[float], share: float, scale: float = 1.0) -> float:
    return round(scale * float(np.quantile(seconds, share)), 4)


if __name__ == "__main__":
    main()
