"""What the app serves with: the collections of both arms, the threads that work, traffic, metrics and settings.

    serving = Serving(settings, "shop", collection);  app = create_app(serving)
    with serving.using("current") as collection: ...
    await serving.run(collection.search, body)         429 when too many wait, 503 when it takes too long

All work on vectors, tables and pictures is done by threads of a pool of its own, never on the event loop.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from clipadapt.service.collection import Collection
from clipadapt.service.metrics import Metrics
from clipadapt.service.problems import Problem
from clipadapt.service.schema import Arm
from clipadapt.service.settings import Settings
from clipadapt.service.traffic import Traffic
from clipadapt.service.uploads import Uploads

Result = TypeVar("Result")


class Serving:
    """The state of one service process."""

    def __init__(
        self,
        settings: Settings,
        name: str = "clipadapt",
        current: Collection | None = None,
        *,
        traffic: Traffic | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.settings, self.name = settings, name
        self.metrics = metrics or Metrics()
        self.traffic = traffic or Traffic.open()
        self.uploads = Uploads(settings.limits)
        self._collections: dict[Arm, Collection | None] = {"current": None, "candidate": None}
        self._faults: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(settings.limits.threads, "request")
        self._pending = 0
        self._lock = threading.Lock()
        self._mirrors: set[asyncio.Task[None]] = set()
        if current is not None:
            self.replace(current)

    @property
    def current(self) -> Collection | None:
        """What answers; null while it is loading."""
        return self._collections["current"]

    @property
    def candidate(self) -> Collection | None:
        """What answers a share of users; null where none is served."""
        return self._collections["candidate"]

    @property
    def pending(self) -> int:
        """Requests that are worked on, or wait for a thread."""
        return self._pending

    @property
    def faults(self) -> list[str]:
        """What is wrong now, in words."""
        return [*self._faults.values(), *self.traffic.faults()]

    def set_fault(self, what: str, fault: str | None) -> None:
        """Says what is wrong with a part, or, null, that nothing is any more."""
        with self._lock:
            self._faults = {key: text for key, text in self._faults.items() if key != what}
            if fault is not None:
                self._faults[what] = fault

    @contextlib.contextmanager
    def using(self, arm: Arm = "current") -> Iterator[Collection]:
        """The collection of an arm, kept open meanwhile.

        Raises:
            Problem: 503 while it is loading, 404 where there is no candidate.
        """
        with self._lock:  # or it might be replaced and closed before it counts as used
            collection = self._collections[arm]
            if collection is None and arm == "candidate":
                raise Problem(404, "no_candidate", "no candidate is served; leave `arm` out, or serve --candidate")
            if collection is None:
                raise Problem(503, "not_ready", "the index is still loading; try again in a moment", retry_after=1)
            collection.acquire()
        try:
            yield collection
        finally:
            collection.release()

    def replace(self, collection: Collection | None, arm: Arm = "current") -> None:
        """Another collection from now on; the one before is closed when its last request is done."""
        with self._lock:
            before, self._collections[arm] = self._collections[arm], collection
        if collection is not None:
            self.metrics.switched(arm, collection.name, len(collection.index))
        if before is not None:
            before.retire()

    async def run(self, job: Callable[..., Result], *given: Any) -> Result:
        """The result of a job in a thread.

        Raises:
            Problem: 429 when too many requests wait, 503 when it takes too long. Whatever the job raises.
        """
        limits = self.settings.limits
        with self._lock:
            if self._pending >= limits.threads + limits.waiting:
                raise Problem(429, "busy", "too many requests wait; try again in a second", retry_after=1)
            self._pending += 1
        future = self._pool.submit(contextvars.copy_context().run, job, *given)  # with the request's span
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(limits.work_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            message = f"not done in {limits.work_seconds:g} seconds; try again, or ask for less"
            raise Problem(503, "too_slow", message, retry_after=1) from error

    def start(self, work: Any) -> None:
        """Runs a coroutine beside the requests; what is unfinished when the service ends is dropped."""
        task = asyncio.get_running_loop().create_task(work)
        self._mirrors.add(task)
        task.add_done_callback(self._mirrors.discard)

    def close(self) -> None:
        """Waits for the work at hand, then frees everything."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for arm in ("current", "candidate"):
            self.replace(None, arm)
        self.traffic.close()

    def _done(self, _: "Future[Any]") -> None:
        with self._lock:
            self._pending -= 1
