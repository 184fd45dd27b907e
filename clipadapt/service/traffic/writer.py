"""Two threads that append records to a log, so that answering never waits for a disk.

    writer = Writer(folder)
    writer.put("events", {...})      # False: no room, the record is dropped and counted
    writer.close()                   # everything is on the disk

Records wait in a queue of limited length. One thread hands them to the system twenty times a second, after which a
kill -9 loses none of them; the other has them flushed to the disk four times a second, which is what a power cut asks
for, and may take as long as the disk likes: the first waits for it only where a part is full, or of yesterday, and the
next one begins. When the disk is full or away, records wait for the next try, the newest are dropped once the queue is
full, and `fault` says so until a try succeeds. Nothing here knows what a record means.
"""

import collections
import datetime
import itertools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipadapt.deploy.event_log.form import KINDS, Kind, line
from clipadapt.deploy.event_log.parts import MOST_BYTES, Part, Sealed, seal
from clipadapt.errors import StoreError

log = logging.getLogger(__name__)

APPEND_SECONDS = 0.05
"""Between two times that records are handed to the system."""
FLUSH_SECONDS = 0.25
"""Between two flushes."""
MOST_WAITING = 32 * 2**20
"""Bytes; some 100,000 events."""
_AT_ONCE = 5_000


class Writer:
    """The threads and what they have yet to write; `put` may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        most_waiting: int = MOST_WAITING,
        most_bytes: int = MOST_BYTES,
        append_seconds: float = APPEND_SECONDS,
        flush_seconds: float = FLUSH_SECONDS,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """Seals what a crash left, and starts the threads.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.folder = folder
        self.written = 0
        self.dropped = 0
        self._faults: dict[str, str] = {}
        """Step -> why it fails now."""
        self._waiting: collections.deque[tuple[Kind, bytes]] = collections.deque()
        self._appended = 0
        """How many of those, from the oldest, the system has; after a flush that failed, none."""
        self._bytes = 0
        """Of what waits."""
        self._room = threading.Lock()
        """For the queue and what counts it; never kept while a disk works."""
        self._files = threading.RLock()
        """For appending and cutting."""
        self._flushing = threading.RLock()
        """For flushing, and so for closing; taken before the one for appending."""
        self._most_waiting, self._most_bytes, self._clock = most_waiting, most_bytes, clock
        self._parts: dict[Kind, Part] = {}
        self._flushed: dict[Kind, int] = {}
        """Bytes of each part that are on the disk."""
        self._stop = threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.sealed: Sealed = seal(folder)
            for kind in KINDS:
                self._open(kind)  # now, so that a folder that cannot be written is said before anything is served
        except OSError as error:
            raise StoreError(
                f"{folder}: the event log cannot be written: {error.strerror or error}; name another folder, or make "
                "room"
            ) from error
        if self.sealed.parts:
            log.warning("%s: half a last line cut off %d part(s) that a crash left", folder, self.sealed.parts)
        steps = (("append", self._append, append_seconds), ("flush", self._flush, flush_seconds))
        self._threads = [
            threading.Thread(target=self._run, args=step, name=f"event log, {step[0]}", daemon=True) for step in steps
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._waiting)

    @property
    def fault(self) -> str | None:
        """Why nothing can be written now."""
        return next(iter(self._faults.values()), None)

    def put(self, kind: Kind, record: dict[str, Any]) -> bool:
        """Hands a record over; False where the queue is full and the record is lost."""
        text = line(record)
        with self._room:
            if self._bytes + len(text) > self._most_waiting or self._stop.is_set():
                self.dropped += 1
                return False
            self._waiting.append((kind, text))
            self._bytes += len(text)
        return True

    def close(self) -> None:
        """Writes what waits, and ends the threads; a second call does nothing.

        Raises:
            StoreError: something could not be written.
        """
        with self._room:
            self._stop.set()
        for thread in self._threads:
            thread.join()
        self._try("append", self._append)
        self._try("flush", self._flush)
        for part in self._parts.values():
            part.close()
        self._parts.clear()
        if self._waiting:
            raise StoreError(f"{self.folder}: {len(self._waiting):,} record(s) were not written: {self.fault}")

    def _run(self, name: str, step: Callable[[], bool], seconds: float) -> None:
        while not self._stop.wait(seconds):
            self._try(name, step)

    def _try(self, name: str, step: Callable[[], bool]) -> None:
        """A step of a thread; what fails is said until it was done, for a step with nothing to do proves nothing."""
        try:
            done = step()
        except Exception as error:  # a thread that died would lose everything from then on without a word
            reason = getattr(error, "strerror", None) or repr(error)
            if name not in self._faults:
                log.error("%s: the event log cannot be written: %s", self.folder, reason)
            fault = (
                f"{self.folder}: the event log cannot be written: {reason}; records wait, and what does not fit in "
                "the queue is lost. Make room on the disk"
            )
            with self._room:
                self._faults = {**self._faults, name: fault}
            return
        if done and name in self._faults:
            log.warning("%s: the event log is written again", self.folder)
            with self._room:
                self._faults = {key: fault for key, fault in self._faults.items() if key != name}

    def _append(self) -> bool:
        """Everything that the system does not have, in order; what fails stays where it is. Whether there was any."""
        any_left = False
        while (kind := self._append_some()) is not None:
            any_left = True
            if not self._fits(kind):
                self._renew(kind)
        return any_left

    def _append_some(self) -> Kind | None:
        """Up to some thousands of one kind where their part takes them; null where nothing is left."""
        with self._files:  # so that no flush fails in between and cuts off what comes before them
            batch = self._next()
            if batch is None:
                return None
            kind, texts = batch
            if self._fits(kind):
                self._parts[kind].append(b"".join(texts))
                with self._room:
                    self._appended += len(texts)
        return kind

    def _next(self) -> tuple[Kind, list[bytes]] | None:
        """The first records of one kind that the system does not have."""
        with self._room:
            first = list(itertools.islice(self._waiting, self._appended, self._appended + _AT_ONCE))
        if not first:
            return None
        kind = first[0][0]
        return kind, [text for _, text in itertools.takewhile(lambda record: record[0] == kind, first)]

    def _flush(self) -> bool:
        """Has on the disk what the system has; where that fails, all of it is appended again. Whether there was any."""
        with self._flushing:
            with self._files:
                count = self._appended
                sizes: dict[Kind, int] = {kind: part.bytes for kind, part in self._parts.items()}
            if not count:
                return False
            try:
                for kind in sizes:
                    if sizes[kind] > self._flushed[kind]:
                        self._parts[kind].flush()
            except BaseException:
                self._take_back()
                raise
            self._flushed = sizes
            with self._room:
                for _ in range(count):
                    self._bytes -= len(self._waiting.popleft()[1])
                self._appended -= count
            self.written += count
            return True

    def _take_back(self) -> None:
        with self._files:
            with self._room:
                self._appended = 0
            for kind, part in self._parts.items():
                part.cut(self._flushed[kind])

    def _fits(self, kind: Kind) -> bool:
        """Whether there is a part that lines belong to now."""
        part = self._parts.get(kind)
        return part is not None and part.fits(self._clock(), self._most_bytes)

    def _renew(self, kind: Kind) -> None:
        """The next part, once what the last one has is on the disk."""
        with self._flushing:
            self._flush()
            with self._files:
                part = self._parts.pop(kind, None)
                if part is not None:
                    part.close()
                self._open(kind)

    def _open(self, kind: Kind) -> None:
        self._parts[kind], self._flushed[kind] = Part.new(self.folder, kind, self._clock()), 0
