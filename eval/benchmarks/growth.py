"""What an index costs as it grows: build time, memory, disk and latency at recall@10 of 0.99, and their exponents.

    OMP_NUM_THREADS=2 python eval/benchmarks/growth.py --count 1000000 --count 3000000 --count 10000000

Vectors of 256 dimensions are drawn (clouds.py) into a file of halves, and the index keeps them so. Drawing, exact
answers, building and searching are processes of their own; memory is the largest resident size of the one that builds,
and of one that only opens the index and searches, pages of mapped files included. Queries come one at a time and are
not in the index. An exponent is the slope between two sizes on logarithmic axes: 1 where a cost grows as the number of
vectors. A size that is measured is added to eval/results/growth.json, beside those that are there. --folder keeps
files, and what lies there already is used again. 10 M vectors take 11 GB of disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from clouds import draw

from clipadapt.search.embedded import Embedded
from clipadapt.search.items import Items
from clipadapt.search.recall import KINDS
from clipadapt.search.topk import topk
from clipadapt.search.vectors import Vectors

pc: Any = pyarrow.compute
STEPS = ("draw", "truth", "build", "search")
COSTS = ("build_cpu_s", "build_peak_mb", "search_peak_mb", "memory_mb", "disk_mb", "picture_p50_ms", "text_p50_ms")


def main() -> None:
    """Measures each size, writes eval/results/growth.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=500, help="of each kind")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=STEPS, help="this one alone, and nothing is published")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for count in given.count or [1_000_000]:
            folder = (given.folder or Path(scratch)) / f"{count}x{given.dim}"
            folder.mkdir(parents=True, exist_ok=True)
            if given.step:
                found = globals()[f"_{given.step}"](folder, count, given.dim, given.queries)
                (folder / f"{given.step}.json").write_text(json.dumps(found), encoding="utf-8")
            else:
                _publish(count, _measured(folder, given, count))


def _measured(folder: Path, given: argparse.Namespace, count: int) -> dict[str, Any]:
    """Every step that has no result yet in a process of its own; all results as one."""
    found: dict[str, Any] = {"count": count, "dim": given.dim}
    for step in STEPS:
        file = folder / f"{step}.json"
        if not file.exists():
            sizes = ["--count", str(count), "--dim", str(given.dim), "--queries", str(given.queries)]
            command = [sys.executable, __file__, *sizes, "--folder", str(folder.parent), "--step", step]
            subprocess.run(command, check=True)
        found |= json.loads(file.read_text(encoding="utf-8"))
        print(f"{count:,}: {step} {file.read_text(encoding='utf-8')}", flush=True)
    return found


def _publish(count: int, result: dict[str, Any]) -> None:
    from machine import RESULTS, publish  # torch, whose memory is no part of what is measured

    file = RESULTS / "growth.json"
    sizes = json.loads(file.read_text(encoding="utf-8"))["sizes"] if file.exists() else {}
    sizes = {str(one): (sizes | {str(count): result})[str(one)] for one in sorted({*map(int, sizes), count})}
    steps = list(zip(sizes.values(), list(sizes.values())[1:], strict=False))
    exponents = {
        f"{small['count']} to {large['count']}": {
            cost: round(float(np.log(large[cost] / small[cost]) / np.log(large["count"] / small["count"])), 2)
            for cost in COSTS
        }
        for small, large in steps
    }
    first, *_, last = list(sizes.values()) * 2
    headline = {
        "ratio": round(last["picture_p50_ms"] / first["picture_p50_ms"], 2), "from": first["count"],
        **{key: last[key] for key in ("count", "build_s", *COSTS, "picture_recall", "text_recall")},
    }  # fmt: skip
    publish("growth", headline, {"sizes": sizes, "exponents": exponents})


def _draw(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    into = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (count, dim))
    cloud = draw(count, dim, queries=queries, into=into)
    into.flush()
    np.savez(folder / "queries.npz", picture=cloud.pictures, text=cloud.texts, tuning=cloud.tuning_texts)
    return {}


def _truth(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    vectors, drawn = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npz")
    picture, text = (topk(drawn[kind], vectors, 10).indices for kind in KINDS)
    np.savez(folder / "truth.npz", picture=picture, text=text)
    return {}


def _build(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    """As a user builds it: items, training, measured recall, checksums and flushing included."""
    with _Peak() as peak:
        start, cpu = time.perf_counter(), time.process_time()
        numbers = pa.array(np.arange(count))
        table = pa.table({"id": numbers.cast(pa.string()), "product": pc.divide(numbers, 2).cast(pa.string())})
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        source = Vectors(vectors, Items.of(table), "synthetic", None)
        Embedded.build(source, folder / "index", texts=np.load(folder / "queries.npz")["tuning"])
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "build_s": round(wall, 1), "build_cpu_s": round(cpu, 1), "threads": os.environ.get("OMP_NUM_THREADS"),
        "build_peak_mb": peak.resident, "build_peak_anonymous_mb": peak.anonymous,
    }  # fmt: skip


def _search(folder: Path, count: int, dim: int, queries: int) -> dict[str, Any]:
    drawn, truth = np.load(folder / "queries.npz"), np.load(folder / "truth.npz")
    found: dict[str, Any] = {}
    with _Peak() as peak:
        start = time.perf_counter()
        index = Embedded(folder / "index", verify=False)
        found["open_s"] = round(time.perf_counter() - start, 2)
        for kind in KINDS:
            times, shares = [], []
            for query, right in zip(drawn[kind], truth[kind], strict=True):
                start = time.perf_counter()
                rows = index.engine.search(query[None], 10, kind).indices[0]
                times.append(1e3 * (time.perf_counter() - start))
                shares.append(np.isin(right, rows).mean())
            found |= {
                f"{kind}_recall": round(float(np.mean(shares)), 4), f"{kind}_params": index.meta.search_params[kind],
                f"{kind}_p50_ms": round(float(np.quantile(times, 0.5)), 3),
                f"{kind}_p99_ms": round(float(np.quantile(times, 0.99)), 3),
            }  # fmt: skip
    place = folder / "index" / "versions"
    disk = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return found | {
        "factory": index.meta.factory, "memory_mb": round(index.meta.memory / 1e6, 1), "disk_mb": round(disk / 1e6, 1),
        "search_peak_mb": peak.resident, "search_peak_anonymous_mb": peak.anonymous, "queries": queries,
    }  # fmt: skip


class _Peak:
    """Largest resident size of this process, and how much of it was of no file, looked at every tenth of a second."""

    resident = anonymous = 0.0

    def __enter__(self) -> "_Peak":
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
        self.resident = _status("VmHWM")

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.anonymous = max(self.anonymous, _status("RssAnon"))


def _status(name: str) -> float:
    """MB that Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024, 1)


if __name__ == "__main__":
    main()
