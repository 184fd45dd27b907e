"""One thread that appends records to a log, so that answering never waits for a disk.

    writer = Writer(folder)
    writer.put("events", {...})      # False: no room, the record is dropped and counted
    writer.close()                   # everything is on the disk

Records wait in a queue of limited length and are written four times a second, flushed to the disk each time; what a
kill -9 loses is what was put since. When the disk is full or away, records wait for the next try, the newest are
dropped once the queue is full, and `fault` says so until a try succeeds. Nothing here knows what a record means.
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

INTERVAL = 0.25
"""Seconds between two flushes."""
MOST_WAITING = 32 * 2**20
"""Bytes; some 100,000 events."""
_AT_ONCE = 5_000


class Writer:
    """The thread and what it has yet to write; `put` may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        most_waiting: int = MOST_WAITING,
        most_bytes: int = MOST_BYTES,
        interval: float = INTERVAL,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """Seals what a crash left, and starts the thread.

        Raises:
            StoreError: the folder cannot be written.
        """
        self.folder = folder
        self.fault: str | None = None
        """Why nothing can be written now."""
        self.written = 0
        self.dropped = 0
        self._waiting: collections.deque[tuple[Kind, bytes]] = collections.deque()
        self._room = threading.Lock()
        self._bytes = 0
        """Of what waits."""
        self._most_waiting, self._most_bytes, self._interval, self._clock = most_waiting, most_bytes, interval, clock
        self._parts: dict[Kind, Part] = {}
        self._stop = threading.Event()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.sealed: Sealed = seal(folder)
            for kind in KINDS:
                self._part(kind)  # now, so that a folder that cannot be written is said before anything is served
        except OSError as error:
            raise StoreError(
                f"{folder}: the event log cannot be written: {error.strerror or error}; name another folder, or make "
                "room"
            ) from error
        if self.sealed.parts:
            log.warning("%s: half a last line cut off %d part(s) that a crash left", folder, self.sealed.parts)
        self._thread = threading.Thread(target=self._run, name="event log", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._waiting)

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
        """Writes what waits, and ends the thread; a second call does nothing.

        Raises:
            StoreError: something could not be written.
        """
        with self._room:
            self._stop.set()
        self._thread.join()
        for part in self._parts.values():
            part.close()
        self._parts.clear()
        if self._waiting:
            raise StoreError(f"{self.folder}: {len(self._waiting):,} record(s) were not written: {self.fault}")

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._interval)
            try:
                self._write()
                if self.fault is not None:
                    log.warning("%s: the event log is written again", self.folder)
                self.fault = None
            except Exception as error:  # a thread that died would lose everything from then on without a word
                reason = getattr(error, "strerror", None) or repr(error)
                if self.fault is None:
                    log.error("%s: the event log cannot be written: %s", self.folder, reason)
                self.fault = (
                    f"{self.folder}: the event log cannot be written: {reason}; records wait, and what does not fit in "
                    "the queue is lost. Make room on the disk"
                )

    def _write(self) -> None:
        """Everything that waits, some thousands at a time, in order; what fails stays in the queue."""
        while batch := self._next():
            kind, texts = batch
            self._part(kind).append(b"".join(texts))
            with self._room:
                for text in texts:
                    self._waiting.popleft()
                    self._bytes -= len(text)
            self.written += len(texts)

    def _next(self) -> tuple[Kind, list[bytes]] | None:
        """The first records of one kind."""
        with self._room:
            first = list(itertools.islice(self._waiting, _AT_ONCE))
        if not first:
            return None
        kind = first[0][0]
        return kind, [text for _, text in itertools.takewhile(lambda record: record[0] == kind, first)]

    def _part(self, kind: Kind) -> Part:
        """The part that lines belong to now."""
        now = self._clock()
        part = self._parts.get(kind)
        if part is not None and not part.fits(now, self._most_bytes):
            del self._parts[kind]
            part.close()
            part = None
        if part is None:
            part = self._parts[kind] = Part.new(self.folder, kind, now)
        return part
