"""The search service under load on loopback: latency, requests per second, batching, memory, and time to start.

    python eval/benchmarks/serve_load.py runs/quickstart [--source S] [--seconds 10] [--requests 20000]
    python eval/benchmarks/serve_load.py runs/quickstart --synthetic 1000000 --name serve_load_1m

Texts, pictures and filtered texts at 1, 8 and 32 clients. Every query is new to the service, so that none is answered
from what it remembers; "repeated" is the same text again and again. Clients share the machine's cores with the service,
and are written to cost little: one process, raw HTTP/1.1 with kept connections. "ratio" is requests per second at 32
clients with batching over without, on texts, the two services measured in turn.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
from clouds import draw
from machine import publish
from PIL import Image

from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors
from clipadapt.service.opening import find
from clipadapt.towers.load import load

WORDS = ("red", "blue", "green", "striped", "checked", "floral", "linen", "midi", "long", "skirt", "shirt", "dress")
CLIENTS = (1, 8, 32)


class Service(NamedTuple):
    """A running service."""

    host: str
    port: int
    pid: int
    start_seconds: float
    """From starting the process until it answers searches."""

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def memory_mb(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


def main() -> None:
    """Starts services, loads them, writes eval/results/NAME.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", help="INDEX, RELEASE or RUN, as clipadapt serve takes it")
    parser.add_argument("--source", help="catalogue of the pictures")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of batching against none")
    parser.add_argument("--requests", type=int, default=20_000, help="that memory is watched over")
    parser.add_argument("--synthetic", type=int, help="serve so many synthetic vectors with the place's model")
    parser.add_argument("--name", default="serve_load")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--source", arguments.source] if arguments.source else []
        place = arguments.place
        if arguments.synthetic:
            place, options = synthetic(place, arguments.synthetic, Path(scratch)), ["--model", model_of(place)]
        with serving(place, options) as service:
            info = service.get("/info")
            condition = first_condition(service)
            result: dict[str, Any] = {"start_seconds": round(service.start_seconds, 2), "items": info["items"]}
            result |= {"encoder": info["current"]["encoder"], "condition": condition}
            for kind in ("text", "picture", "filtered", "repeated"):
                result[kind] = {
                    str(clients): measure(service, kind, clients, arguments.seconds, condition) for clients in CLIENTS
                }
            result["memory"] = memory(service, arguments.requests, condition)
        result["batching"] = batching(place, options, arguments.rounds, arguments.seconds)
    publish(arguments.name, headline(result), result)


def headline(result: dict[str, Any]) -> dict[str, Any]:
    cells = [result[kind][str(clients)] for kind in ("text", "picture", "filtered", "repeated") for clients in CLIENTS]
    return {
        "ratio": result["batching"]["ratio"], "text_p50_ms": result["text"]["1"]["p50_ms"],
        "text_p99_ms": result["text"]["1"]["p99_ms"], "text_per_second_8": result["text"]["8"]["per_second"],
        "memory_growth": result["memory"]["growth"], "start_seconds": result["start_seconds"],
        "errors": sum(cell["errors"] for cell in cells) + result["memory"]["errors"],
    }  # fmt: skip


@contextlib.contextmanager
def serving(place: str, options: list[str]) -> Iterator[Service]:
    """`clipadapt serve` as a process of its own, ready."""
    command = [sys.executable, "-m", "clipadapt.cli", "serve", place, "--port", "0", *options]
    started = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        if not line.startswith("open "):
            raise SystemExit(line + process.stderr.read())
        address = urlparse(line.split()[1])
        with Path(os.devnull).open("w") as nowhere:  # the log of requests must be read, or the pipe fills up
            reader = subprocess.Popen(["cat"], stdin=process.stderr, stdout=nowhere)
        service = Service(address.hostname or "", address.port or 0, process.pid, 0.0)
        try:
            while True:
                with contextlib.suppress(OSError):
                    service.get("/readyz")
                    break
                if process.poll() is not None:
                    raise SystemExit("the service ended; run the same command by hand to see why")
                time.sleep(0.02)
            yield service._replace(start_seconds=time.perf_counter() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            reader.wait(60)


def first_condition(service: Service) -> str | None:
    """The most frequent value of the first column that has any, or the lower half of a column of numbers."""
    for facet in service.get("/facets")["facets"]:
        name = facet["name"].replace('"', "")
        if facet["kind"] == "values" and facet["values"]:
            return f'"{name}"="{facet["values"][0]["value"]}"'
        if facet["kind"] == "range" and not isinstance(facet["low"], str):
            return f'"{name}"<={(facet["low"] + facet["high"]) / 2}'
    return None


class Queries:
    """Requests that the service has not had before."""

    def __init__(self, service: Service, condition: str | None) -> None:
        self._host, self._condition = f"{service.host}:{service.port}", condition
        self._numbers = itertools.count(time.monotonic_ns())
        rng = np.random.default_rng(0)
        self._pictures = []
        for _ in range(16):
            content = io.BytesIO()
            small = Image.fromarray(rng.integers(0, 255, (12, 9, 3), np.uint8))
            small.resize((450, 600), Image.Resampling.BICUBIC).save(content, "JPEG", quality=85)
            self._pictures.append(content.getvalue())

    def of(self, kind: str) -> bytes:
        """The bytes of one request."""
        number = next(self._numbers)
        if kind == "picture":
            return self._form(self._pictures[number % len(self._pictures)] + str(number).encode())  # after its end
        rng = np.random.default_rng(number)
        text = "a red shirt" if kind == "repeated" else " ".join([*rng.choice(WORDS, 4), str(number % 100_000)])
        body: dict[str, Any] = {"text": text, "k": 24}
        if kind == "filtered" and self._condition:
            body["where"] = [self._condition]
        return self._post("application/json", json.dumps(body).encode())

    def _form(self, picture: bytes) -> bytes:
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="i.jpg"\r\n\r\n'
        return self._post("multipart/form-data; boundary=b", head + picture + b"\r\n--b--\r\n")

    def _post(self, kind: str, body: bytes) -> bytes:
        lines = (
            "POST /search HTTP/1.1",
            f"Host: {self._host}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(
    service: Service, queries: Queries, kinds: Iterator[str], until: float, most: int
) -> tuple[list[float], int]:
    """One client: seconds of each request, and how many were not answered with 200."""
    seconds, errors = [], 0
    reader, writer = await asyncio.open_connection(service.host, service.port)
    while time.perf_counter() < until and len(seconds) < most:
        request = queries.of(next(kinds))
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - started)
        errors += b" 200 " not in head[:20]
    writer.close()
    return seconds, errors


async def crowd(
    service: Service, kinds: tuple[str, ...], clients: int, seconds: float, condition: str | None, most: int = 10**9
) -> tuple[list[float], int, float]:
    """All clients at once: seconds of each request, errors, and the time that all of it took."""
    queries, started = Queries(service, condition), time.perf_counter()
    asking = [ask(service, queries, itertools.cycle(kinds), started + seconds, most // clients) for _ in range(clients)]
    found = await asyncio.gather(*asking)
    return (
        [one for times, _ in found for one in times],
        sum(errors for _, errors in found),
        time.perf_counter() - started,
    )


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
    warm = asyncio.run(crowd(service, kinds, 8, 1e9, condition, most=max(requests // 2, 10)))
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
    found = find(place)
    return found.model or Index.open(found.index).model


def synthetic(place: str, count: int, scratch: Path) -> str:
    """An index of synthetic vectors in the space of the place's model."""
    encoder = load(model_of(place))
    cloud = draw(count, encoder.dim, queries=500)
    table = pa.table({"id": [str(row) for row in range(count)], "lottery": np.random.default_rng(0).random(count)})
    made = Vectors(cloud.items, Items.of(table), encoder.image_space, None)
    Index.build(made, scratch / "index", texts=cloud.tuning_texts)
    return str(scratch / "index")


if __name__ == "__main__":
    main()
