"""What a Milvus cluster takes for 10 M, 100 M and 1 B items: arithmetic, not a measurement.

    python eval/benchmarks/milvus_sizing.py [--dim 512] [--factory HNSW32] [--columns 200]

Memory of vectors and links is Kind.memory's; columns are what filters and results hold of an item. Two versions are
loaded, and three while one is built (search/milvus/versions.py). Milvus loads at most 90% of the memory of its query
nodes, and a collection has 16 shards at most (milvus.io/docs/limitations.md). On disk lie rows and index of the same
three versions, twice, for a distributed object store keeps parity beside (MinIO: half of the drives by default).
"""

import argparse
import json
import math

from clipadapt.search.milvus.kinds import Kind
from clipadapt.search.milvus.versions import shards

COUNTS = {"10 M": 10_000_000, "100 M": 100_000_000, "1 B": 1_000_000_000}
LOADED, LOADABLE, STORED = 3, 0.9, 2
NODE = 32 * 2**30
LARGE = 256 * 2**30


def sizes(count: int, dim: int, factory: str, columns: int) -> dict[str, float]:
    """Gigabytes of one version and of all, query nodes of 32 and 256 GiB with one to spare, and shards."""
    kind = Kind.named(factory, count, lite=False)
    version = kind.memory(count, dim) + columns * count
    memory = LOADED * version / LOADABLE
    disk = STORED * LOADED * (version + 4 * dim * count)
    return {
        "version_gb": version / 1e9, "memory_gb": memory / 1e9, "nodes_of_32": 1 + math.ceil(memory / NODE),
        "nodes_of_256": 1 + math.ceil(memory / LARGE), "disk_tb": disk / 1e12,
        "shards": shards(count),
    }  # fmt: skip


def main() -> None:
    """Prints a line per size, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--factory", default="HNSW32")
    parser.add_argument("--columns", type=int, default=200, help="bytes of an item's columns")
    asked = parser.parse_args()
    found = {name: sizes(count, asked.dim, asked.factory, asked.columns) for name, count in COUNTS.items()}
    for name, one in found.items():
        print(row(name, asked.factory, one))
    print(json.dumps(found))


def row(name: str, factory: str, one: dict[str, float]) -> str:
    """A line of the table in docs/milvus.md."""
    cells = [
        name, factory, f"{one['version_gb']:,.0f} GB", f"{one['memory_gb']:,.0f} GB", f"{one['nodes_of_32']}",
        f"{one['nodes_of_256']}", f"{one['disk_tb']:,.2f} TB", f"{one['shards']}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
