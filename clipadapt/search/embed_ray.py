"""The shards of a job that embeds a catalogue, made by actors of a Ray cluster: one that runs, or this machine.

    embed_by_ray(opened, encoder, catalogue, "vectors/shop", Cluster("ray://head:10001", actors=16, gpus=1))

Each actor opens model and catalogue once and makes the shards that it is given, into a folder that all machines share.
An actor that dies is replaced, anywhere, and its shard is made anew, three times at most. The shards are those of
`embed`: a job may begin here and end there. Needs clipadapt[ray], here and on the cluster.
"""

import contextlib
import logging
import os
import socket
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ClipadaptError, UsageError
from clipadapt.progress import Bar, bar
from clipadapt.search.embed import SHARD, make
from clipadapt.search.embed_output import WHOLE, Made, assemble, begin, shards_of
from clipadapt.search.vector_parts import Form
from clipadapt.search.vectors import Vectors
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)

Opened = Callable[[], tuple[Encoder, Catalogue]]
"""Opens the model and the catalogue on the machine it is called on."""
_PATIENCE = 10.0
"""Seconds in which a cluster takes a connection."""
_OBJECT_STORE = 128 << 20
"""Bytes of a cluster of one's own: nothing but numbers goes through it."""
_TRIES = 3
"""Actors that may die at one shard: machines are taken away and run out of memory, but hardly thrice at one place."""
_EVERY = 1.0
"""Seconds between looks at how far the actors are."""


class Cluster(NamedTuple):
    """Where actors run, and what each takes."""

    address: str | None = None
    """ray://HOST:10001, or auto for the cluster that this machine is part of; None: this machine alone."""
    actors: int = 2
    cpus: int = 1
    gpus: float = 0


def embed_by_ray(
    opened: Opened, encoder: Encoder, catalogue: Catalogue, out: str | Path, cluster: Cluster, *, shard: int = SHARD,
    form: Form = WHOLE,
) -> Vectors:  # fmt: skip
    """As `embed`, by the actors of a cluster.

    Args:
        opened: opens the same model and catalogue in an actor; it is sent there.

    Raises:
        UsageError: ray is not installed, no cluster answers, or it has not what an actor takes; as `embed`.
        ModelError, CatalogueError, StoreError: as `embed`, wherever they come up.
        ClipadaptError: actors die at one shard again and again.
    """
    folder, catalogue = Path(out).absolute(), catalogue.permitted("index")
    shards = shards_of(encoder, catalogue, folder, shard, form)
    if not begin(shards, folder):
        return Vectors.open(folder, verify=False)
    start = time.perf_counter()
    rows = {number: shards.rows(number) for number in shards.missing()}
    pictures = shards.pictures(list(rows))
    with connected(cluster) as ray, bar(pictures, "embedding", "images") as shown:
        actor = ray.remote(
            num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_restarts=0, max_task_retries=0, max_concurrency=2
        )(Maker)
        crew = _Crew(ray, lambda: actor.remote(opened, folder, shard, form, cluster.cpus), rows, shown)
        crew.run(min(cluster.actors, len(rows)))
    assemble(encoder, catalogue, shards, folder, Made(pictures, time.perf_counter() - start))
    return Vectors.open(folder, verify=False)


class Maker:
    """What an actor is: one opened model and catalogue, and a count of what it has done of its shard."""

    def __init__(self, opened: Opened, folder: Path, shard: int, form: Form, threads: int) -> None:
        self._opened, self._folder, self._shard, self._form, self._threads = opened, folder, shard, form, threads
        self._done = 0.0

    def open(self) -> None:
        """Opens both; not on construction, whose errors Ray tells as texts alone."""
        self._encoder, catalogue = self._opened()
        self._catalogue = catalogue.permitted("index")
        self._shards = shards_of(self._encoder, self._catalogue, self._folder, self._shard, self._form)
        self._shards.begin()  # refuses where this machine sees another model or catalogue

    def make(self, number: int) -> None:
        """Makes one shard, into the folder that all share."""
        self._done = 0.0
        make(self._encoder, self._catalogue, self._shards, [number], self._threads, self)

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Counts, as a bar does."""
        self._done += amount

    def done(self) -> float:
        """Pictures of the shard at hand that are done."""
        return self._done


class _Crew:
    """Actors and what each is at; one that dies is replaced, and what it was at is done again."""

    def __init__(self, ray: Any, start: Callable[[], Any], rows: Mapping[int, range], shown: Bar) -> None:
        self._ray, self._start, self._rows, self._bar = ray, start, rows, shown
        self._waiting = sorted(rows, reverse=True)
        self._left = set(rows)
        self._busy: dict[Any, tuple[Any, int | None]] = {}
        """What is awaited -> its actor, and the shard that it makes; None while it opens model and catalogue."""
        self._deaths: Counter[int | None] = Counter()
        self._counted, self._looked = 0.0, time.monotonic()

    def run(self, actors: int) -> None:
        """Until every shard is made; an actor for which the cluster has no room any more is not waited for."""
        for _ in range(actors):
            self._begin()
        while self._left:
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=_EVERY)
            for one in ready:
                self._end(one, actors)
            if time.monotonic() - self._looked >= _EVERY:
                self._show()
        self._move(sum(map(len, self._rows.values())))

    def _begin(self) -> None:
        actor = self._start()
        self._busy[actor.open.remote()] = actor, None

    def _end(self, awaited: Any, actors: int) -> None:
        """An actor is done with what it was at, or dead."""
        errors = self._ray.exceptions
        actor, number = self._busy.pop(awaited)
        try:
            with _own_errors(self._ray):
                self._ray.get(awaited)
        except (errors.RayActorError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
            self._died(number, error, actors)
            self._ray.kill(actor)
            self._begin()
            return
        if number is not None:
            self._left.discard(number)
            self._deaths[None] = 0
        if self._waiting:
            number = self._waiting.pop()
            self._busy[actor.make.remote(number)] = actor, number

    def _died(self, number: int | None, error: Exception, actors: int) -> None:
        """Puts a shard back.

        Raises:
            ClipadaptError: actors died there too often.
        """
        self._deaths[number] += 1
        times, last = self._deaths[number], _reason(error)
        if getattr(error, "actor_init_failed", False):
            raise ClipadaptError(
                f"--engine ray: an actor cannot begin ({last}); clipadapt must be there in the same version"
            ) from error
        if number is None:
            at, most = "opening the model and the catalogue", _TRIES * actors
        else:
            rows = self._rows[number]
            at, most = f"at shard {number} (pictures {rows.start + 1} to {rows.stop} of the split)", _TRIES
            self._waiting.append(number)
        if times >= most:
            raise ClipadaptError(
                f"--engine ray: an actor died {times} times {at}. What is made stays. "
                "Fewer --actors on a machine leave more memory to each; the same command without --engine ray makes "
                f"what is missing here, and shows what ends it. Ray says of the last: {last}"
            ) from error
        log.warning("an actor died %s and is replaced (%s)", at, last)

    def _show(self) -> None:
        """Asks the actors how far they are."""
        self._looked = time.monotonic()
        counts = [actor.done.remote() for actor, number in self._busy.values() if number is not None]
        finished = set(self._rows) - self._left
        total = float(sum(len(self._rows[number]) for number in finished))
        ready = self._ray.wait(counts, num_returns=len(counts), timeout=_EVERY)[0] if counts else []
        for one in ready:
            with contextlib.suppress(self._ray.exceptions.RayError):  # it died; whoever waits for its shard sees to it
                total += self._ray.get(one)
        self._move(total)

    def _move(self, total: float) -> None:
        """The bar, which does not go back when a shard is begun again."""
        if total > self._counted:
            self._bar.advance(total - self._counted)
            self._counted = total


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected for as long as a job lasts; a cluster of this machine alone ends with it.

    What Ray prints of lost actors goes to stderr meanwhile: it would come between results.

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
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 is for machines that do something else, too
    with contextlib.redirect_stdout(sys.stderr):
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
                    f"--engine ray: an actor takes {cluster.cpus} CPU(s) and {cluster.gpus:g} GPU(s), and the cluster "
                    f"has {there.get('CPU', 0):g} and {there.get('GPU', 0):g}; name fewer with --workers or another "
                    "--device"
                )
            yield ray
        finally:
            ray.shutdown()  # within: what it still had to print comes out here


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


def _reason(error: Exception) -> str:
    """Of Ray's paragraphs the line that says why: an actor's death has it last, a lack of memory first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = lines if hasattr(error, "actor_init_failed") else lines[:1]
    return textwrap.shorten(lines[-1], 160, placeholder=" ...") if lines else type(error).__name__
