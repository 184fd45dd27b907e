"""What the app serves with: the collections of both arms, the threads that work, and the settings.

    serving = Serving(settings);  serving.current = collection;  app = create_app(serving)
    with serving.using("current") as collection: ...
    await serving.run(collection.search, body)         429 when too many wait, 503 when it takes too long

All work on vectors, tables and pictures is done by threads of a pool of its own, never on the event loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from clipadapt.service.collection import Collection
from clipadapt.service.problems import Problem
from clipadapt.service.schema import Arm
from clipadapt.service.settings import Settings
from clipadapt.service.uploads import Uploads

Result = TypeVar("Result")


class Serving:
    """The state of one service process."""

    def __init__(self, settings: Settings, name: str = "clipadapt", current: Collection | None = None) -> None:
        self.settings, self.name = settings, name
        self.current: Collection | None = current
        self.candidate: Collection | None = None
        self.faults: list[str] = []
        """What was refused or left out, for /info."""
        self.uploads = Uploads(settings.limits)
        self._pool = ThreadPoolExecutor(settings.limits.threads, "request")
        self._pending = 0
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """Requests that are worked on, or wait for a thread."""
        return self._pending

    @contextlib.contextmanager
    def using(self, arm: Arm = "current") -> Iterator[Collection]:
        """The collection of an arm, kept open meanwhile.

        Raises:
            Problem: 503 while it is loading, 404 where there is no candidate.
        """
        with self._lock:  # or it might be replaced and closed before it counts as used
            collection = self.current if arm == "current" else self.candidate
            if collection is None and arm == "candidate":
                raise Problem(404, "no_candidate", "no candidate is served; leave `arm` out, or serve --candidate")
            if collection is None:
                raise Problem(503, "not_ready", "the index is still loading; try again in a moment", retry_after=1)
            use = collection.used()
            use.__enter__()
        try:
            yield collection
        finally:
            use.__exit__(None, None, None)

    def replace(self, collection: Collection | None, arm: Arm = "current") -> None:
        """Another collection from now on; the one before is closed when its last request is done."""
        with self._lock:
            before = self.current if arm == "current" else self.candidate
            if arm == "current":
                self.current = collection
            else:
                self.candidate = collection
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
        future = self._pool.submit(job, *given)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), limits.work_seconds)
        except TimeoutError as error:
            message = f"not done in {limits.work_seconds:g} seconds; try again, or ask for less"
            raise Problem(503, "too_slow", message, retry_after=1) from error

    def close(self) -> None:
        """Waits for the work at hand, then frees everything."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.replace(None)
        self.replace(None, "candidate")

    def _done(self, _: "Future[Any]") -> None:
        with self._lock:
            self._pending -= 1
