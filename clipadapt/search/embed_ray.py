"""The shards of a job that embeds a catalogue, made by actors of a Ray cluster: one that runs, or this machine.

    embed_by_ray(opened, encoder, catalogue, "vectors/shop", Cluster("ray://head:10001", actors=16, gpus=1))

Each actor opens model and catalogue once and makes the shards that it is given, into a folder that all machines share.
An actor that dies is started again, anywhere, and its shard is made anew. The shards are those of `embed`: a job may
begin here and end there. Needs clipadapt[ray], here and on the cluster.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ClipadaptError, UsageError
from clipadapt.progress import bar
from clipadapt.search.embed import SHARD, assemble, finished, make, shards_of
from clipadapt.search.vectors import Vectors
from clipadapt.towers.encoder import Encoder

Opened = Callable[[], tuple[Encoder, Catalogue]]
"""Opens the model and the catalogue on the machine it is called on."""
_PATIENCE = 10.0
"""Seconds in which a cluster takes a connection."""
_OBJECT_STORE = 128 << 20
"""Bytes of a cluster of one's own: nothing but numbers of shards goes through it."""


class Cluster(NamedTuple):
    """Where actors run, and what each takes."""

    address: str | None = None
    """ray://HOST:10001, or auto for the cluster that this machine is part of; None: this machine alone."""
    actors: int = 2
    cpus: int = 1
    gpus: float = 0


def embed_by_ray(
    opened: Opened, encoder: Encoder, catalogue: Catalogue, out: str | Path, cluster: Cluster, *, shard: int = SHARD
) -> Vectors:
    """As `embed`, by the actors of a cluster.

    Args:
        opened: opens the same model and catalogue in an actor; it is sent there.

    Raises:
        UsageError: ray is not installed, no cluster answers, or it has not what an actor takes; as `embed`.
        ModelError, CatalogueError, StoreError: as `embed`.
    """
    folder, catalogue = Path(out).absolute(), catalogue.permitted("index")
    shards = shards_of(encoder, catalogue, folder, shard)
    if finished(shards, folder):
        return Vectors.open(folder)
    shards.begin()
    start, done = time.perf_counter(), 0
    with connected(cluster) as ray:
        missing = shards.missing()
        rows = {number: len(shards.rows(number)) for number in missing}
        actor = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_restarts=-1, max_task_retries=-1)(Maker)
        actors = [actor.remote(opened, folder, shard, cluster.cpus) for _ in range(min(cluster.actors, len(missing)))]
        waiting = list(reversed(missing))
        running = {one.make.remote(waiting.pop()): one for one in actors}
        with bar(sum(rows.values()), "embedding", "images") as shown:
            while running:
                (ready,), _ = ray.wait(list(running), num_returns=1)
                free = running.pop(ready)
                with _own_errors(ray):
                    number = ray.get(ready)
                done += rows[number]
                shown.advance(rows[number])
                if waiting:
                    running[free.make.remote(waiting.pop())] = free
    assemble(encoder, catalogue, shards, folder, done, time.perf_counter() - start)
    return Vectors.open(folder)


class Maker:
    """What an actor is: one opened model and catalogue."""

    def __init__(self, opened: Opened, folder: Path, shard: int, threads: int) -> None:
        self._encoder, catalogue = opened()
        self._catalogue = catalogue.permitted("index")
        self._shards = shards_of(self._encoder, self._catalogue, folder, shard)
        self._shards.begin()  # refuses where this machine sees another model or catalogue
        self._threads = threads

    def make(self, number: int) -> int:
        """Makes one shard, into the folder that all share."""
        make(self._encoder, self._catalogue, self._shards, [number], self._threads)
        return number


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected for as long as a job lasts; a cluster of this machine alone ends with it.

    Raises:
        UsageError: ray is not installed, no cluster answers, or it has not what an actor takes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray: ray is not installed; pip install 'clipadapt[ray]'") from error
    own: dict[str, Any] = {}
    if cluster.address is None:
        own = {
            "num_cpus": cluster.actors * cluster.cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1",
            "object_store_memory": _OBJECT_STORE,
        }  # fmt: skip
    try:
        _reach(cluster.address)
        ray.init(address=cluster.address or "local", logging_level=logging.ERROR, log_to_driver=False, **own)
    except (OSError, ValueError, RuntimeError) as error:
        where = cluster.address or "this machine"
        raise UsageError(f"--engine ray: no cluster at {where} ({error}); name one with --ray-address") from error
    try:
        there = ray.cluster_resources()
        if there.get("CPU", 0) < cluster.cpus or there.get("GPU", 0) < cluster.gpus:
            raise UsageError(
                f"--engine ray: an actor takes {cluster.cpus} CPU(s) and {cluster.gpus:g} GPU(s), and the cluster has "
                f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}; name fewer with --workers or another --device"
            )
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Ray itself waits for minutes where nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


@contextlib.contextmanager
def _own_errors(ray: Any) -> Iterator[None]:
    """An actor's error as the one that it is, where it is one of ours."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ClipadaptError):
            raise error.cause from None
        raise
