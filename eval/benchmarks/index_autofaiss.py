"""Our index beside the one that autofaiss chooses for the same memory, on the same vectors and queries.

    python -m venv AUTOFAISS && AUTOFAISS/bin/pip install autofaiss "faiss-cpu<1.8" "pyarrow<22"
    python eval/benchmarks/index_autofaiss.py --python AUTOFAISS/bin/python [--count 1000000] [--index DIR]

DIR is what index_speed.py --keep left. autofaiss is given the bytes that ours needs in memory and is left to choose and
tune by itself. Its file is then read by the FAISS of this process, and both answer the same queries in turn, one at a
time. "ratio" is its median latency over ours for picture queries; recalls stand beside it, for a fast index that finds
less is no rival. What ours keeps on disk besides (the exact vectors, which are mapped) is shown as file_mb.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from clouds import Cloud, draw
from index_speed import build, inside
from machine import publish

from clipadapt.search.index import Index
from clipadapt.search.recall import Kind
from clipadapt.search.topk import topk

BUILD = """
import json, sys, time
from autofaiss import build_index
folder, bytes_, out = sys.argv[1:]
start = time.perf_counter()
build_index(
    embeddings=folder, index_path=out, index_infos_path=out + ".json", metric_type="ip",
    max_index_memory_usage=f"{int(bytes_) // 1_000_000}MB", current_memory_available="12GB", verbose=30,
)
infos = json.load(open(out + ".json"))
print(json.dumps({"build_seconds": round(time.perf_counter() - start, 1), **infos}, default=str))
"""


def main() -> None:
    """Builds both, measures both, writes eval/results/index_autofaiss.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment that has autofaiss")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--index", type=Path, help="folder of an index of the same --count")
    arguments = parser.parse_args()
    cloud = draw(arguments.count, queries=arguments.queries)
    with tempfile.TemporaryDirectory() as scratch:
        index = Index.open(arguments.index) if arguments.index else build(cloud, Path(scratch) / "index")[0]
        rival, about = theirs(cloud, index.meta.memory_bytes, arguments.python, Path(scratch))
        kinds: dict[Kind, np.ndarray] = {"picture": cloud.pictures, "text": cloud.texts}
        found = {kind: beside(index, rival, cloud, kind, queries) for kind, queries in kinds.items()}
    headline = {
        "ratio": found["picture"]["ratio"],
        **{f"{kind}_recall": found[kind]["ours"]["recall"] for kind in kinds},
        **{f"{kind}_recall_autofaiss": found[kind]["autofaiss"]["recall"] for kind in kinds},
        "factory": index.meta.factory, "autofaiss": about["index_key"], "count": arguments.count,
    }  # fmt: skip
    sizes = {
        "memory_mb": round(index.meta.memory_bytes / 1e6, 1),
        "file_mb": round(inside(index).engine.size() / 1e6, 1),
    }
    publish("index_autofaiss", headline, {**found, "ours": sizes, "autofaiss": about})


def theirs(cloud: Cloud, memory: int, python: Path, scratch: Path) -> tuple[Any, dict[str, Any]]:
    """autofaiss's index, read here, and what it says of it."""
    (scratch / "vectors").mkdir()
    np.save(scratch / "vectors" / "part.npy", cloud.items)
    out = scratch / "autofaiss.index"
    done = subprocess.run(
        [str(python), "-c", BUILD, str(scratch / "vectors"), str(memory), str(out)],
        check=True, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    kept = {name: said[name] for name in ("build_seconds", "index_key", "index_param", "nb vectors") if name in said}
    rival = faiss.read_index(str(out))
    faiss.ParameterSpace().set_index_parameters(rival, said["index_param"])  # what it tuned is not in its file
    return rival, {**kept, "memory_mb": round(out.stat().st_size / 1e6, 1)}


def beside(index: Index, rival: Any, cloud: Cloud, kind: Kind, queries: np.ndarray) -> dict[str, Any]:
    """Recall@10 and latency of both, query by query in turn."""
    truth = topk(queries, cloud.items, 10).indices
    engine = inside(index).engine
    answers: dict[str, list[np.ndarray]] = {"ours": [], "autofaiss": []}
    times: dict[str, list[float]] = {"ours": [], "autofaiss": []}
    for query in queries:
        one = query[None]
        for name in answers:
            start = time.perf_counter()
            ids = engine.search(one, 10, kind).indices if name == "ours" else rival.search(one, 10)[1]
            times[name].append(1e3 * (time.perf_counter() - start))
            answers[name].append(ids[0])
    figures: dict[str, Any] = {}
    for name, rows in answers.items():
        hits = [np.isin(right, ids).mean() for right, ids in zip(truth, rows, strict=True)]
        spread = {f"p{at}_ms": round(float(np.percentile(times[name], at)), 3) for at in (50, 99)}
        figures[name] = {"recall": round(float(np.mean(hits)), 4), **spread}
    return {**figures, "ratio": round(figures["autofaiss"]["p50_ms"] / figures["ours"]["p50_ms"], 2)}


if __name__ == "__main__":
    main()
