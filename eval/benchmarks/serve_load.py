"""The search service under load on loopback: latency, requests per second, batching, memory, and time to start.

    python eval/benchmarks/serve_load.py runs/quickstart [--source S] [--seconds 10] [--requests 20000]
    python eval/benchmarks/serve_load.py MODEL --synthetic 1000000 --name serve_load_1m [--keep FOLDER]
    python eval/benchmarks/serve_load.py runs/quickstart --parts memory --name serve_memory

Texts, pictures, filtered texts and one repeated text at 1, 8 and 32 clients, which share the machine's cores with the
service. Memory is watched over 20,000 mixed requests, over 2,000 of synthetic vectors, where each takes longer. "ratio"
is requests per second at 32 clients with batching over without, on texts, the two services measured in turn. Memory
is no matter of time: that part may run beside other work.
"""

import argparse
import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from clouds import draw
from http_load import Service, crowd, first_condition, serving
from machine import publish

from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors
from clipadapt.service.opening import find
from clipadapt.towers.load import load

CLIENTS = (1, 8, 32)
PARTS = ("latency", "memory", "batching")
KINDS = ("text", "picture", "filtered", "repeated")


def main() -> None:
    """Starts services, loads them, writes eval/results/NAME.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", help="INDEX, RELEASE or RUN, as clipadapt serve takes it, or local-dir:PATH")
    parser.add_argument("--source", help="catalogue of the pictures")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of batching against none")
    parser.add_argument("--requests", type=int, help="that memory is watched over")
    parser.add_argument("--synthetic", type=int, help="serve so many synthetic vectors with the place's model")
    parser.add_argument("--keep", type=Path, help="folder where synthetic vectors are put, and used again")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the result that are measured now")
    parser.add_argument("--name", default="serve_load")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        options = ["--source", arguments.source] if arguments.source else []
        place = arguments.place
        if arguments.synthetic:
            scratch = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            index, options = scratch / "index", ["--model", model_of(place)]
            if not index.exists():
                synthetic(place, arguments.synthetic, index)
            place = str(index)
        if "latency" in arguments.parts:
            result |= latency(place, options, arguments.seconds)
        if "memory" in arguments.parts:
            requests = arguments.requests or (2_000 if arguments.synthetic else 20_000)
            with serving(place, options) as service:
                result["memory"] = memory(service, requests, first_condition(service))
        if "batching" in arguments.parts:
            result["batching"] = batching(place, options, arguments.rounds, arguments.seconds)
    publish(arguments.name, headline(result), result)


def headline(result: dict[str, Any]) -> dict[str, Any]:
    cells = [result[kind][str(clients)] for kind in KINDS if kind in result for clients in CLIENTS]
    figures: dict[str, Any] = {}
    if "batching" in result:
        figures["ratio"] = result["batching"]["ratio"]
    if cells:
        figures |= {
            "text_p50_ms": result["text"]["1"]["p50_ms"], "text_p99_ms": result["text"]["1"]["p99_ms"],
            "text_per_second_8": result["text"]["8"]["per_second"], "start_seconds": result["start_seconds"],
        }  # fmt: skip
    if "memory" in result:
        cells.append(result["memory"])
        figures |= {"memory_growth": result["memory"]["growth"], "memory_requests": result["memory"]["requests"]}
    return {**figures, "errors": sum(cell["errors"] for cell in cells)}


def latency(place: str, options: list[str], seconds: float) -> dict[str, Any]:
    """Every kind of query at every number of clients, and the time to start."""
    with serving(place, options) as service:
        info, condition = service.get("/info"), first_condition(service)
        cells = {
            kind: {str(clients): measure(service, kind, clients, seconds, condition) for clients in CLIENTS}
            for kind in KINDS
        }
        started = round(service.start_seconds, 2)
    return {
        "start_seconds": started, "items": info["items"], "encoder": info["current"]["encoder"],
        "condition": condition, **cells,
    }  # fmt: skip


def measure(service: Service, kind: str, clients: int, seconds: float, condition: str | None) -> dict[str, float]:
    """One cell, after a second to warm up."""
    asyncio.run(crowd(service, (kind,), clients, min(1.0, seconds), condition))
    times, errors, took = asyncio.run(crowd(service, (kind,), clients, seconds, condition))
    return {
        "p50_ms": round(1e3 * float(np.quantile(times, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(times, 0.99)), 2),
        "per_second": round(len(times) / took, 1), "requests": len(times), "errors": errors,
    }  # fmt: skip


def memory(service: Service, requests: int, condition: str | None) -> dict[str, float]:
    """Growth over mixed requests, once everything that is remembered is full."""
    kinds = ("text", "filtered", "text", "repeated", "picture")
    both = ("text", "picture")  # of which vectors are remembered, 4,096 of each
    warm = asyncio.run(crowd(service, both, 8, 1e9, condition, most=max(requests // 2, 10)))
    before = service.memory_mb()
    _, errors, _ = asyncio.run(crowd(service, kinds, 8, 1e9, condition, most=requests))
    after = service.memory_mb()
    return {
        "before_mb": round(before, 1), "after_mb": round(after, 1), "growth": round(after / before - 1, 4),
        "requests": requests, "warm_up_requests": len(warm[0]), "errors": errors + warm[1],
    }  # fmt: skip


def batching(place: str, options: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Requests per second at 32 clients with and without batches, in turn."""
    rates: dict[str, list[float]] = {"batched": [], "single": []}
    with serving(place, options) as batched, serving(place, [*options, "--gather-ms", "0"]) as single:
        for _ in range(rounds):
            for name, service in (("batched", batched), ("single", single)):
                rates[name].append(measure(service, "text", max(CLIENTS), seconds, None)["per_second"])
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    return {"ratio": round(medians["batched"] / medians["single"], 2), "clients": max(CLIENTS), **rates}


def model_of(place: str) -> str:
    """The model of an index, a run or releases; a model itself."""
    if place.startswith("local-dir:"):
        return place
    found = find(place)
    return found.model or Index.open(found.index).model


def synthetic(place: str, count: int, index: Path) -> tuple[np.ndarray, pa.Table]:
    """An index of synthetic vectors in the space of the place's model; gives those vectors and the items' table."""
    encoder = load(model_of(place))
    cloud = draw(count, encoder.dim, queries=500)
    table = pa.table({"id": [str(row) for row in range(count)], "lottery": np.random.default_rng(0).random(count)})
    made = Vectors(cloud.items, Items.of(table), encoder.image_space, None)
    Index.build(made, index, texts=cloud.tuning_texts)
    return cloud.items, table


if __name__ == "__main__":
    main()
