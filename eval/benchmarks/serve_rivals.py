"""Our vector search over HTTP beside FAISS behind FastAPI, on the same vectors and queries, at equal measured recall.

    python eval/benchmarks/serve_rivals.py runs/quickstart [--count 1000000] [--seconds 10]
    python eval/benchmarks/serve_rivals.py runs/quickstart --keep FOLDER --prepare      indexes, and recall of each
    python eval/benchmarks/serve_rivals.py runs/quickstart --keep FOLDER                the timed part

Queries are items ("more like this"), so that no encoder is measured: each asks for the 24 nearest others. The rivals
are plain_server.py with an exact index and with HNSW32, whose efSearch is the smallest of some that reaches our
recall@10 on other queries. The place lends its model's number of dimensions. Recall is that of each server's answers,
asked before anything is timed. Then servers run one at a time, in turn, `--rounds` times; clients share the machine's
cores with them. "ratio" is our requests per second at 8 clients over the exact rival's, "hnsw_ratio" over HNSW's;
"p99_ratio" is our p99 over theirs. Writes eval/results/serve_rivals.json.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
from http_load import Service, crowd, forked, running
from machine import publish
from plain_server import built, set_effort
from serve_load import model_of, synthetic

from clipadapt.search.topk import topk

AT, JUDGED, CLIENTS = 10, 300, (1, 8)
EFFORTS = (16, 32, 64, 128, 256, 512)
HNSW = "HNSW32"
PREPARED = "prepared.json"
PLAIN = Path(__file__).with_name("plain_server.py")


def main() -> None:
    """Builds, serves each in turn, writes the result and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", help="INDEX, RELEASE or RUN whose model the vectors are to be of")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--name", default="serve_rivals")
    parser.add_argument("--keep", type=Path, help="folder of the prepared indexes, used again where they are there")
    parser.add_argument("--prepare", action="store_true", help="stop before anything is timed; with --keep")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        options = ["--model", model_of(arguments.place)]
        if not (folder / PREPARED).exists():
            prepare(arguments.place, arguments.count, folder)
            (folder / PREPARED).write_text(json.dumps(judged(folder, options, arguments.count)))
        known = json.loads((folder / PREPARED).read_text())
        if arguments.prepare:
            print(json.dumps({key: known[key] for key in ("count", "hnsw_ef", "recall")}))
            return
        servers = commands(folder, options, known["hnsw_ef"])
        rounds = [turn(servers, known["items"], arguments.seconds) for _ in range(arguments.rounds)]
    found = {name: median([one[name] for one in rounds]) for name in servers}
    eight = {name: one["8"] for name, one in found.items()}
    headline = {
        "ratio": round(eight["ours"]["per_second"] / eight["exact"]["per_second"], 2),
        "p99_ratio": round(eight["ours"]["p99_ms"] / eight["exact"]["p99_ms"], 3),
        "hnsw_ratio": round(eight["ours"]["per_second"] / eight["hnsw"]["per_second"], 2),
        "hnsw_p99_ratio": round(eight["ours"]["p99_ms"] / eight["hnsw"]["p99_ms"], 3),
        **{f"recall_{name}": one for name, one in known["recall"].items()}, "count": known["count"],
    }  # fmt: skip
    publish(arguments.name, headline, {**found, "hnsw_ef": known["hnsw_ef"], "dim": known["dim"], "rounds": rounds})


def commands(folder: Path, options: list[str], ef: int) -> dict[str, Callable[[], AbstractContextManager[Service]]]:
    """What starts each server."""
    return {
        "ours": lambda: forked(str(folder / "index"), options),
        "exact": lambda: running([sys.executable, str(PLAIN), str(folder), "--index", "Flat"]),
        "hnsw": lambda: running([sys.executable, str(PLAIN), str(folder), "--index", HNSW, "--ef", str(ef)]),
    }


def judged(folder: Path, options: list[str], count: int) -> dict[str, Any]:
    """The effort of HNSW that reaches our recall, the recall of each server, and the items that are asked for."""
    wanted, tuning = queries(folder, JUDGED, seed=1), queries(folder, 100, seed=2)
    with forked(str(folder / "index"), options) as service:
        ours = recall(service, tuning)
    ef = effort(folder, tuning, ours)
    found = {}
    for name, start in commands(folder, options, ef).items():
        with start() as service:
            found[name] = round(recall(service, wanted), 4)
    dim = int(np.load(folder / "vectors.npy", mmap_mode="r").shape[1])
    return {"count": count, "dim": dim, "hnsw_ef": ef, "recall": found, "items": list(wanted)}


def prepare(place: str, count: int, folder: Path) -> None:
    """Our index, as a user builds it, and the same vectors and HNSW index for the rivals; what is there is kept."""
    if not (folder / "items.parquet").exists():
        vectors, table = synthetic(place, count, folder / "index")
        np.save(folder / "vectors.npy", vectors)
        pq.write_table(table, folder / "items.parquet")
    if not (folder / f"{HNSW}.faiss").exists():
        faiss.write_index(built(np.load(folder / "vectors.npy"), HNSW), str(folder / f"{HNSW}.faiss"))


def queries(folder: Path, count: int, seed: int) -> dict[str, list[str]]:
    """Item -> the ids of its nearest others, exactly."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    rows = np.random.default_rng(seed).choice(len(vectors), count, replace=False)
    found = topk(np.ascontiguousarray(vectors[rows]), np.asarray(vectors), AT + 1).indices
    return {str(row): [str(one) for one in near if one != row][:AT] for row, near in zip(rows, found, strict=True)}


def recall(service: Service, truth: dict[str, list[str]]) -> float:
    """recall@10 of what the service answers."""
    shares = []
    for item, near in truth.items():
        body = json.dumps({"item": item, "k": AT}).encode()
        request = urllib.request.Request(
            f"http://{service.host}:{service.port}/search", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            shares.append(len({hit["id"] for hit in json.loads(answer.read())["hits"]}.intersection(near)) / AT)
    return float(np.mean(shares))


def effort(folder: Path, truth: dict[str, list[str]], wanted: float) -> int:
    """The smallest efSearch that reaches a recall; the largest where none does, and the result shows both recalls."""
    index = faiss.read_index(str(folder / f"{HNSW}.faiss"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    rows = [int(item) for item in truth]
    for ef in EFFORTS:
        set_effort(index, ef)
        _, found = index.search(np.ascontiguousarray(vectors[rows]), AT + 1)
        got = [{str(one) for one in near} for near in found]
        if np.mean([len(one.intersection(near)) / AT for one, near in zip(got, truth.values(), strict=True)]) >= wanted:
            return ef
    return EFFORTS[-1]


def turn(
    servers: dict[str, Callable[[], AbstractContextManager[Service]]], items: list[str], seconds: float
) -> dict[str, dict[str, Any]]:
    """Each server once."""
    return {name: measured(start, items, seconds) for name, start in servers.items()}


def measured(start: Callable[[], AbstractContextManager[Service]], items: list[str], seconds: float) -> dict[str, Any]:
    """Memory and requests of one server, after a second to warm up."""
    result: dict[str, Any] = {}
    with start() as service:
        asyncio.run(crowd(service, ("item",), max(CLIENTS), min(1.0, seconds), None, items=items))
        for clients in CLIENTS:
            times, errors, took = asyncio.run(crowd(service, ("item",), clients, seconds, None, items=items))
            result[str(clients)] = {
                "per_second": round(len(times) / took, 1), "p50_ms": round(1e3 * float(np.quantile(times, 0.5)), 2),
                "p99_ms": round(1e3 * float(np.quantile(times, 0.99)), 2), "requests": len(times), "errors": errors,
            }  # fmt: skip
        result["memory_mb"] = round(service.memory_mb(), 1)
    return result


def median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure."""
    first = rounds[0]
    return {
        key: median([one[key] for one in rounds])
        if isinstance(first[key], dict)
        else float(np.median([one[key] for one in rounds]))
        for key in first
    }


if __name__ == "__main__":
    main()
