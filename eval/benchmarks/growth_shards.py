"""What 100 M and 1 B items would take in shards: arithmetic and a simulation from measured shards, not a measurement.

    python eval/benchmarks/growth_shards.py [--dim 512] [--shard 1000000]

Every figure is of one shard that growth.py built and searched on this kind of machine (eval/results/growth.json):
processor time of its build, peak memory of a process that searches it, disk, time of a query on one core. Items are
dealt to shards at random, so each is asked for its ten best, and recall is that of one shard. A query waits for the
slowest: latencies of shards are drawn from a lognormal distribution with the measured median and 99th percentile,
independent of each other, one core a shard. Networks, merging and what lies between machines come on top, and are not
known here.
Costs of other dimensions are taken as proportional to them.
"""

import argparse
import json
import math
from typing import Any

import numpy as np
from machine import RESULTS

ITEMS = {"100 M": 100_000_000, "1 B": 1_000_000_000}
MACHINE_GB, MACHINE_CORES, USED = 256, 64, 0.8
"""A machine that shards are put on, and how much of its memory they may take."""
DRAWS = 20_000
_Z99 = 2.326


def simulated(shard: dict[str, Any], items: int, scale: float, seed: int = 0) -> dict[str, float]:
    """Shards, gigabytes, hours and milliseconds for so many items.

    Args:
        shard: a size of growth.json.
        scale: dimensions over those of the shard.
    """
    shards = math.ceil(items / shard["count"])
    memory = shards * shard["search_peak_mb"] * scale / 1e3
    cores = scale * shard["picture_p50_ms"] * shards / 1e3  # busy for one query a second
    machines = max(math.ceil(memory / (USED * MACHINE_GB)), math.ceil(shards / MACHINE_CORES))
    spread = math.log(shard["picture_p99_ms"] / shard["picture_p50_ms"]) / _Z99
    rng = np.random.default_rng(seed)
    slowest = np.zeros(DRAWS)
    for _ in range(shards):
        np.maximum(slowest, rng.lognormal(math.log(scale * shard["picture_p50_ms"]), spread, DRAWS), out=slowest)
    return {
        "shards": shards, "memory_gb": round(memory, 1), "disk_gb": round(shards * shard["disk_mb"] * scale / 1e3, 1),
        "build_core_hours": round(shards * shard["build_cpu_s"] * scale / 3600, 1),
        "core_seconds_a_query": round(cores, 2), "machines": machines,
        "queries_a_second": round(machines * MACHINE_CORES * USED / cores, 1),
        "p50_ms": round(float(np.quantile(slowest, 0.5)), 1), "p99_ms": round(float(np.quantile(slowest, 0.99)), 1),
    }  # fmt: skip


def main() -> None:
    """Prints a line per size and shard, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--shard", type=int, help="items of a shard, a size that was measured; default: the largest")
    given = parser.parse_args()
    sizes = json.loads((RESULTS / "growth.json").read_text(encoding="utf-8"))["sizes"]
    shard = sizes[str(given.shard or max(map(int, sizes)))]
    found = {name: simulated(shard, items, given.dim / shard["dim"]) for name, items in ITEMS.items()}
    for name, one in found.items():
        print(row(name, one))
    print(json.dumps({"shard": shard["count"], "dim": given.dim, **found}))


def row(name: str, one: dict[str, float]) -> str:
    """A line of the table in docs/growth.md."""
    cells = [
        name, f"{one['shards']:,}", f"{one['memory_gb']:,.0f} GB", f"{one['disk_gb'] / 1e3:,.2f} TB",
        f"{one['build_core_hours']:,.0f}", f"{one['core_seconds_a_query']:,.1f}", f"{one['machines']}",
        f"{one['queries_a_second']:,.0f}", f"{one['p50_ms']:,.0f} / {one['p99_ms']:,.0f} ms",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
