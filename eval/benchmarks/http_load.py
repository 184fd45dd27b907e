"""A service as a process of its own, and clients that cost little: one process, raw HTTP/1.1 with kept connections.

    with serving("runs/quickstart", ["--port", "0"]) as service:
        seconds, errors, took = asyncio.run(crowd(service, ("text",), clients=8, seconds=10, condition=None))

Every query is new to the service, so that none is answered from what it remembers; "repeated" is the same text again.
"""

import asyncio
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np
from PIL import Image

from clipadapt.cli import main

WORDS = ("red", "blue", "green", "striped", "checked", "floral", "linen", "midi", "long", "skirt", "shirt", "dress")


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


@contextlib.contextmanager
def serving(place: str, options: list[str]) -> Iterator[Service]:
    """`clipadapt serve` as a process of its own, ready."""
    command = [sys.executable, "-m", "clipadapt.cli", "serve", place, "--port", "0", *options]
    with running(command) as service:
        yield service


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[Service]:
    """A service that says `open http://HOST:PORT` on stderr, ready."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log, Path(log.name).open("w") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, stderr=said)
        try:
            yield _ready(process.pid, Path(log.name), started, lambda: process.poll() is None)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(300)


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["clipadapt.cli.serve", "clipadapt.service.opening", "clipadapt.service.server", "clipadapt.service.workers",
     "clipadapt.search.embedded", "clipadapt.data.catalogue", "clipadapt.towers.load", "open_clip", "timm", "datasets"]
)  # fmt: skip


@contextlib.contextmanager
def forked(place: str, options: list[str]) -> Iterator[Service]:
    """As `serving`, forked from a process that has imported everything, which is most of a start's work."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        started = time.perf_counter()
        process = _FORKS.Process(target=_serve, args=(["serve", place, "--port", "0", *options], log.name))
        process.start()
        try:
            yield _ready(process.pid or 0, Path(log.name), started, process.is_alive)
        finally:
            process.terminate()
            process.join(300)


def _serve(arguments: list[str], log: str) -> None:
    with Path(log).open("w") as said:
        os.dup2(said.fileno(), 2)
        raise SystemExit(main(arguments))


def _ready(pid: int, log: Path, started: float, alive: Callable[[], bool]) -> Service:
    """Waits until a service answers searches."""
    service = None
    while alive():
        if service is None and (found := re.search(r"^open (\S+)$", log.read_text(), re.M)):
            address = urlparse(found[1])
            service = Service(address.hostname or "", address.port or 0, pid, 0.0)
        if service is not None:
            with contextlib.suppress(OSError):
                service.get("/readyz")
                return service._replace(start_seconds=time.perf_counter() - started)
        time.sleep(0.02)
    raise SystemExit(f"the service ended: {log.read_text()}")


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

    def __init__(self, service: Service, condition: str | None, items: Sequence[str] = ()) -> None:
        self._host, self._condition, self._items = f"{service.host}:{service.port}", condition, items
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
        if kind == "item":
            body = {"item": self._items[number % len(self._items)], "k": 24}
            return self._post("application/json", json.dumps(body).encode())
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
    service: Service,
    kinds: tuple[str, ...],
    clients: int,
    seconds: float,
    condition: str | None,
    most: int = 10**9,
    items: Sequence[str] = (),
) -> tuple[list[float], int, float]:
    """All clients at once: seconds of each request, errors, and the time that all of it took."""
    queries, started = Queries(service, condition, items), time.perf_counter()
    asking = [ask(service, queries, itertools.cycle(kinds), started + seconds, most // clients) for _ in range(clients)]
    found = await asyncio.gather(*asking)
    return (
        [one for times, _ in found for one in times],
        sum(errors for _, errors in found),
        time.perf_counter() - started,
    )
