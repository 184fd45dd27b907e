"""An index in milvus-lite: what filters leave of recall, switches of the alias under readers, and kills during upserts.

    python eval/benchmarks/milvus_on_lite.py                    20,000 x 256, 20 kills: some minutes on 2 cores
    python eval/benchmarks/milvus_on_lite.py --count 2000 --kills 2 --switches 10
    python eval/benchmarks/milvus_on_lite.py --parts kills          the others stay as they are in the results

Recall@10 is against exact scores computed here, under conditions that a half, a hundredth and one in 2,000 of the items
meet. Readers search while the alias goes back and forth between two versions whose items all say which one they are
of; an answer mixes versions where its items say both. A writer that is killed has written down each batch whose call
had returned: every row of those has to be there, with its vector, when another process opens the file.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pymilvus
from clouds import draw
from machine import RESULTS, publish

from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.topk import topk
from clipadapt.search.vectors import Vectors

PARTS = ("kills", "recall", "alias")
SHARES = {"half=0": 0.5, "hundredth=0": 0.01, "rare=0": 0.0005}
BATCH = 50
THREADS = 8


def main() -> None:
    """Measures, writes eval/results/milvus_on_lite.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--name", default="milvus_on_lite")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measured now; the others stay")
    asked = parser.parse_args()
    file = RESULTS / f"{asked.name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    folder = Path(tempfile.mkdtemp(prefix="milvus_lite_"))
    try:
        if "kills" in asked.parts:
            found["kills"] = killed(folder / "kills.db", asked.kills, asked.dim)
        if "recall" in asked.parts:
            found["recall"] = filtered(folder / "recall.db", asked.count, asked.dim, asked.queries)
        if "alias" in asked.parts:
            found["alias"] = switched(folder / "alias.db", asked.switches, asked.dim)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = {name: found[name] for name in PARTS if name in found}
    headline: dict[str, Any] = {}
    if "recall" in found:
        headline["recall"] = {where: one["recall"] for where, one in found["recall"]["conditions"].items()}
    if "alias" in found:
        headline |= {f"alias_{key}": found["alias"][key] for key in ("queries", "failed", "mixed")}
    if "kills" in found:
        headline |= {key: found["kills"][key] for key in ("kills", "acknowledged_rows", "lost_rows")}
    publish(asked.name, headline, {"pymilvus": pymilvus.__version__, **found})


def items_of(count: int, first: int = 0, **columns: list[Any]) -> Items:
    """Items numbered from `first`."""
    return Items.of(pa.table({"id": [f"i{first + row}" for row in range(count)], **columns}))


def filtered(file: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    """Recall@10 and the median time of a search, under conditions that fewer and fewer items meet."""
    cloud = draw(count, dim, queries)
    vectors, asked = cloud.items, cloud.pictures
    order = np.random.default_rng(2).permutation(count)
    columns = {"half": (order % 2).tolist(), "hundredth": (order % 100).tolist(), "rare": (order % 2_000).tolist()}
    begun = time.perf_counter()
    index = Index.build(Vectors(vectors, items_of(count, **columns), "s", None), f"milvus:{file}/shop")
    built = time.perf_counter() - begun
    conditions: dict[str, Any] = {}
    for where in (None, *SHARES):
        name = (where or "").split("=")[0]
        allowed = np.ones(count, bool) if where is None else np.array(columns[name]) == 0
        truth = topk(asked, vectors, 10, allowed=allowed)
        shares, times = [], []
        for query, right in zip(asked, truth.indices, strict=True):
            begun = time.perf_counter()
            (hits,) = index.search(query, 10, where=where, collapse=False)
            times.append(time.perf_counter() - begun)
            wanted = {f"i{row}" for row in right if row >= 0}
            shares.append(len(wanted & {hit.id for hit in hits}) / len(wanted))
        conditions[where or "none"] = {
            "matches": int(allowed.sum()), "recall": float(np.mean(shares)), "p50_ms": 1e3 * float(np.median(times)),
        }  # fmt: skip
    return {"count": count, "dim": dim, "queries": queries, "build_seconds": built, "conditions": conditions}


def switched(file: Path, switches: int, dim: int) -> dict[str, Any]:
    """Threads that search while the alias goes back and forth."""
    place = f"milvus:{file}/shop"
    for version in ("a", "b"):
        part = Vectors(directions(2_000, dim, ord(version)), items_of(2_000, version=[version] * 2_000), "s", None)
        Index.build(part, place)
    writer, stop = Index.open(place), threading.Event()
    answers: list[set[str]] = []
    faults: list[str] = []

    def read(seed: int) -> None:
        index, rng = Index.open(place), np.random.default_rng(seed)
        while not stop.is_set():
            try:
                index.refresh()
                (hits,) = index.search(rng.standard_normal(dim).astype(np.float32), 10)
                answers.append({str(hit.attributes["version"]) for hit in hits})
            except Exception as error:  # every fault is one that the benchmark counts
                faults.append(str(error))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for number in range(switches):
        writer.backend.publish(f"{1 + number % 2:06}")
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    seen = {version: sum(version in one for one in answers) for version in ("a", "b")}
    return {
        "switches": switches, "threads": THREADS, "queries": len(answers) + len(faults), "failed": len(faults),
        "mixed": sum(len(one) != 1 for one in answers), "answers_of": seen, "faults": sorted(set(faults))[:5],
    }  # fmt: skip


def killed(file: Path, kills: int, dim: int) -> dict[str, Any]:
    """Rows that a writer had acknowledged before it was killed, and those of them that are lost.

    Each writer looks at what the one before left, for milvus-lite lets one process at a time open a file.
    """
    place, rng = f"milvus:{file}/shop", random.Random(0)
    log, found = file.with_suffix(".log"), file.with_suffix(".found")
    acknowledged, lost, torn, before = 0, 0, 0, list[int]()
    for number in range(kills + 1):
        log.write_text("")
        found.write_text("")
        last = number == kills
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(place, log, found, number, before, dim, last)
        )
        writer.start()
        while not last and not log.read_text() and writer.is_alive():
            time.sleep(0.01)
        if not last:
            time.sleep(rng.random() * 1.5)
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        missing, part = map(int, found.read_text().split())
        lost, torn = lost + missing, torn + part
        if number:
            print(f"kill {number}: {len(before)} batches acknowledged, {missing} rows lost", flush=True)
        before = [int(line) for line in log.read_text().split()]
        acknowledged += BATCH * len(before)
    return {
        "kills": kills, "rows_of_a_batch": BATCH, "acknowledged_rows": acknowledged, "lost_rows": lost,
        "batches_in_part": torn,
    }  # fmt: skip


def write(place: str, log: Path, found: Path, number: int, before: list[int], dim: int, last: bool) -> None:
    """Looks at what the writer before left, then upserts batch after batch and writes down each that has returned."""
    if number == 0:
        Index.build(Vectors(directions(200, dim, 9), items_of(200), "s", None), place)
    index = Index.open(place)
    found.write_text(check(index, number - 1, before, dim))
    with log.open("a", buffering=1) as said:
        for step in range(0 if last else 10_000):
            index.update(batch(number, step, dim))
            said.write(f"{step}\n")


def check(index: Index, writer: int, batches: list[int], dim: int) -> str:
    """Acknowledged rows that are lost or other than they were, and batches of which a part is there alone."""
    ids, lost, torn = set(index.ids()), 0, 0
    for number in range(max(batches, default=-1) + 2):
        made = batch(writer, number, dim)
        there = [item for item in made.items.ids() if item in ids]
        torn += 0 < len(there) < BATCH
        if number in batches:
            lost += BATCH - len(there)
            rows = [made.items.ids().index(item) for item in there]
            same = np.isclose(index.backend.vectors(there), made.vectors[rows], atol=1e-6).all(axis=1)
            lost += int((~same).sum())
    return f"{lost} {torn}"


def batch(writer: int, number: int, dim: int) -> Vectors:
    """The same one in any process."""
    begin = 1_000_000 * (writer + 1) + BATCH * number
    return Vectors(directions(BATCH, dim, begin), items_of(BATCH, begin), "s", None)


def directions(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors."""
    made = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
