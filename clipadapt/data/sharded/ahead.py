"""Copies of the shards that are read next, made by one thread while those before them are read.

    with Ahead(folder, shards) as ahead:
        ahead.want([3, 0, 5, 1])                    in the order in which they are needed; returns at once

The thread only fills the machine's cache (cache.py), so what is read, and in which order, does not depend on it. A
shard that it cannot copy is left to whoever reads it, who meets the same fault and names the shard. It copies no more
shards than fit into the cache together, those that are needed first: or it would take away what is being read.
"""

import contextlib
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from clipadapt.data.sharded.cache import ShardCache
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError, StoreError

NAME = "shards-ahead"
"""Of the thread."""


class Ahead:
    """One thread, until the end of the block."""

    def __init__(self, folder: Folder, shards: tuple[Shard, ...]) -> None:
        self._folder, self._shards = folder, shards
        self._cache = ShardCache.of_machine()
        self._changed = threading.Condition()
        self._wanted: tuple[int, ...] = ()
        self._ended = False
        # A daemon: a process that ends by an error does not wait for copies that nobody will read.
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A copy under way is given up; nothing of it stays."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def want(self, numbers: Sequence[int]) -> None:
        """Shards by their numbers, those that are read now first; the copies that there are of them go last."""
        wanted = tuple(numbers)
        if wanted == self._wanted:
            return
        for number in reversed(wanted):
            self._cache.touch(self._shards[number])
        with self._changed:
            self._wanted = wanted
            self._changed.notify()

    def _run(self) -> None:
        done: tuple[int, ...] = ()
        while True:
            with self._changed:
                while self._wanted == done and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                done = self._wanted
            self._copy(done)

    def _copy(self, wanted: tuple[int, ...]) -> None:
        room = self._cache.limit
        for shard in (self._shards[number] for number in wanted):
            room -= shard.bytes
            if room < 0 or self._ended or wanted != self._wanted:
                return
            with contextlib.suppress(CatalogueError, StoreError):  # of whoever reads it
                self._cache.fill(self._folder, shard, lambda: self._ended)
