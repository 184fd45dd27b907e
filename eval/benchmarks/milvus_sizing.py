"""What a Milvus cluster takes for 10 M, 100 M and 1 B items: arithmetic, and one figure that was measured of FAISS.

    python eval/benchmarks/milvus_sizing.py [--dim 512] [--factory HNSW32] [--columns 200]

Memory of vectors and links is Kind.memory's; columns are what filters and results hold of an item. Two versions are
loaded, and three while one is built (search/milvus/versions.py). Milvus loads at most 90% of the memory of its query
nodes, and a collection has 16 shards at most (milvus.io/docs/limitations.md). On disk lie rows and index of the same
three versions, twice, for a distributed object store keeps parity beside (MinIO: half of the drives by default).

Milvus cuts a collection into segments of 1,024 MB of vectors (dataCoord.segment.maxSize, milvus.io/docs/
configure_datacoord.md), each with a graph of its own, and a query is asked of all. What one takes is FAISS's HNSW32
behind HTTP as eval/results/serve_rivals.json has it: cores over requests per second where 8 clients keep all of them
busy. Those are 300,000 vectors of 128 dimensions at a recall of 0.999; HTTP and the clients are in it, longer vectors
take longer, and a segment of 512 dimensions has 1.7 times as many. Cells with SQ8 codes were not measured so.
"""

import argparse
import json
import math
from pathlib import Path

from clipadapt.search.milvus.kinds import Kind
from clipadapt.search.milvus.versions import shards

COUNTS = {"10 M": 10_000_000, "100 M": 100_000_000, "1 B": 1_000_000_000}
LOADED, LOADABLE, STORED = 3, 0.9, 2
NODE = 32 * 2**30
LARGE = 256 * 2**30
SEGMENT = 1024 * 2**20
MEASURED = Path(__file__).parents[1] / "results" / "serve_rivals.json"


def core_seconds(count: int, dim: int, factory: str) -> float | None:
    """Of one query over all segments; None where nothing of that kind was measured."""
    if factory != "HNSW32":
        return None
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    segments = math.ceil(4 * dim * count / SEGMENT)
    return segments * measured["environment"]["threads"] / measured["hnsw"]["8"]["per_second"]


def sizes(count: int, dim: int, factory: str, columns: int) -> dict[str, float | None]:
    """Gigabytes of one version and of all, query nodes of 32 and 256 GiB with one to spare, shards, work of a query."""
    kind = Kind.named(factory, count, lite=False)
    version = kind.memory(count, dim) + columns * count
    memory = LOADED * version / LOADABLE
    disk = STORED * LOADED * (version + 4 * dim * count)
    return {
        "version_gb": version / 1e9, "memory_gb": memory / 1e9, "nodes_of_32": 1 + math.ceil(memory / NODE),
        "nodes_of_256": 1 + math.ceil(memory / LARGE), "disk_tb": disk / 1e12,
        "shards": shards(count), "core_seconds_a_query": core_seconds(count, dim, factory),
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


def row(name: str, factory: str, one: dict[str, float | None]) -> str:
    """A line of the table in docs/milvus.md."""
    work = one["core_seconds_a_query"]
    cells = [
        name, factory, f"{one['version_gb']:,.0f} GB", f"{one['memory_gb']:,.0f} GB", f"{one['nodes_of_32']}",
        f"{one['nodes_of_256']}", f"{one['disk_tb']:,.2f} TB", f"{one['shards']}",
        "not measured" if work is None else f"{work:,.2f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
