"""What 100 M and 1 B items would take in shards: a simulation from one measured shard, not a measurement.

    python eval/benchmarks/growth_shards.py [--columns 200]

The shard is the million vectors of index_speed.py (eval/results/index_speed.json): processor time of its build, what
must be in memory, disk, time of a picture query, with every core of that run counted as busy throughout. Items are
dealt to shards at random, so each is asked for its ten best, and recall is that of one shard. A query waits for the
slowest: latencies of shards are drawn from a lognormal distribution with the measured median and 99th percentile,
independent of each other, and each shard has the cores to itself that it was measured on. Networks, merging and what
lies between machines come on top, and are not known here; neither is what larger shards would save (growth.py).
"""

import argparse
import json
import math
from typing import Any

import numpy as np
from machine import RESULTS

ITEMS = {"100 M": 100_000_000, "1 B": 1_000_000_000}
MACHINE_GB, MACHINE_CORES, USED = 256, 64, 0.8
"""A machine that shards are put on, and how much of its memory and cores they may take."""
DRAWS = 20_000
_Z99 = 2.326


def simulated(shard: dict[str, Any], items: int, columns: int, seed: int = 0) -> dict[str, float]:
    """Shards, gigabytes, hours, machines and milliseconds for so many items.

    Args:
        shard: index_speed.json.
        columns: bytes of an item's columns in memory.
    """
    shards, threads = math.ceil(items / shard["count"]), shard["environment"]["threads"]
    p50, p99 = shard["picture"]["p50_ms"], shard["picture"]["p99_ms"]
    memory = shards * shard["memory_mb"] / 1e3 + items * columns / 1e9
    cores = shards * threads * p50 / 1e3  # busy with one query a second
    slowest = np.zeros(DRAWS)
    rng = np.random.default_rng(seed)
    for _ in range(shards):
        np.maximum(slowest, rng.lognormal(math.log(p50), math.log(p99 / p50) / _Z99, DRAWS), out=slowest)
    machines = max(math.ceil(memory / (USED * MACHINE_GB)), math.ceil(shards * threads / MACHINE_CORES))
    return {
        "shards": shards, "memory_gb": round(memory, 1), "disk_tb": round(shards * shard["file_mb"] / 1e6, 2),
        "build_core_hours": round(shards * threads * shard["build_seconds"] / 3600, 1),
        "core_seconds_a_query": round(cores, 2), "machines": machines,
        "queries_a_second": round(machines * MACHINE_CORES * USED / cores, 1),
        "p50_ms": round(float(np.quantile(slowest, 0.5)), 1), "p99_ms": round(float(np.quantile(slowest, 0.99)), 1),
    }  # fmt: skip


def main() -> None:
    """Prints a line per size, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=200, help="bytes of an item's columns")
    columns = parser.parse_args().columns
    shard = json.loads((RESULTS / "index_speed.json").read_text(encoding="utf-8"))
    found = {name: simulated(shard, items, columns) for name, items in ITEMS.items()}
    for name, one in found.items():
        print(row(name, one))
    print(json.dumps(found))


def row(name: str, one: dict[str, float]) -> str:
    """A line of the table in docs/growth.md."""
    cells = [
        name, f"{one['shards']:,}", f"{one['memory_gb']:,.0f} GB", f"{one['disk_tb']:,.2f} TB",
        f"{one['build_core_hours']:,.0f}", f"{one['core_seconds_a_query']:,.1f}", f"{one['machines']}",
        f"{one['queries_a_second']:,.0f}", f"{one['p50_ms']:,.0f} / {one['p99_ms']:,.0f} ms",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
